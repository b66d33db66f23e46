"""type_document.py DOCUMENT package|source: types the examples of a document, as a new user does who
installs the extension by package or from its sources. Fails if one of them does.

- sh: in a shell. Blocks of the other way are left out. A service gets a terminal of its own. A
  request has to get the HTTP status that the comment behind it names.
- ini: added to the server's configuration, with the restart that follows.
- sql: in one session of psql. What comes before CREATE EXTENSION is typed after it.
"""

import os
import pathlib
import pty
import re
import shlex
import socket
import subprocess
import sys
import time

document, way = sys.argv[1:]
text = pathlib.Path(document).read_text()
MAJOR = re.search(r"postgresql[-/](\d+)", text)[1]
typed = {"sh": 0, "ini": 0, "sql": 0, "requests": 0}
token = ""


def blocks():
    """The blocks of code of the page, each with its language and without its indentation."""
    for match in re.finditer(r"^( *)```(\w+)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL):
        indentation, language, code = match.groups()
        yield language, re.sub(f"^{indentation}", "", code, flags=re.MULTILINE)


def shell(code):
    """Types a block into a shell, and yes to what it asks."""
    print(code, flush=True)
    done = subprocess.run(["bash", "-ec", code], input="y\n" * 9, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    print(done.stdout, flush=True)
    if done.returncode:
        sys.exit(f"{document}: the block above failed")
    return done.stdout


def start_server():
    """The package starts the server on a machine; in this root, nothing starts services."""
    if " down " in subprocess.run("pg_lsclusters", stdout=subprocess.PIPE, text=True).stdout:
        shell(f"sudo pg_ctlcluster {MAJOR} main start")


class Psql:
    """A session of psql."""

    def __init__(self, command):
        print(command)
        # A terminal, so that it prints each line at once.
        self.screen, output = pty.openpty()
        self.process = subprocess.Popen(shlex.split(command), stdin=subprocess.PIPE, stdout=output,
                                        stderr=output, text=True)

    def type(self, code):
        print(code)
        self.process.stdin.write(f"{code}\n\\echo the block ends\n")
        self.process.stdin.flush()
        answer = ""
        while "the block ends" not in answer:
            answer += os.read(self.screen, 65536).decode()
        print(answer, flush=True)
        if "ERROR:" in answer or "invalid command" in answer:
            sys.exit(f"{document}: the block above failed")
        return answer


def service(code):
    """Types all but the last line of a block, and starts the service of the last one."""
    *lines, last = code.strip().splitlines()
    place = next((line.split()[1] for line in lines if line.startswith("cd ")), ".")
    shell("\n".join(lines))
    print(last)
    subprocess.Popen(["bash", "-c", f"exec env {last}"], cwd=place)
    for _ in range(600):
        try:
            return socket.create_connection(("localhost", 8080)).close()
        except OSError:
            time.sleep(0.1)
    sys.exit(f"{document}: the service does not listen")


def type_sh(code):
    global session
    other = r"\.deb\b" if way == "source" else r"^(sudo )?make "
    if re.search(other, code, re.MULTILINE):
        return
    typed["sh"] += 1
    if "server.py" in code:
        return service(code)
    *lines, last = code.strip().splitlines()
    if re.fullmatch(r"sudo -u postgres psql \w+", last):
        if lines:
            shell("\n".join(lines))
        session = Psql(last)
        return
    code = code.replace("KEY=vpk_live_...", f"KEY={token}")
    if "curl" not in code:
        shell(code)
        return start_server()
    setting = "\n".join(line for line in code.splitlines() if line.startswith("KEY="))
    for line in code.splitlines():
        request = re.fullmatch(r"(curl .*?)\s*# (\d{3})", line)
        if request:
            answer = shell(f"{setting}\n{request[1]}")
            typed["requests"] += 1
            if not re.search(rf"^HTTP/1.1 {request[2]} ", answer, re.MULTILINE):
                sys.exit(f"{document}: the request above does not get {request[2]}")


def type_ini(code):
    typed["ini"] += 1
    shell(f"sudo tee -a /etc/postgresql/{MAJOR}/main/postgresql.conf <<'END'\n{code}END\n"
          f"sudo pg_ctlcluster {MAJOR} main restart")


def type_sql(code):
    global session, token, installed
    if not installed and "CREATE EXTENSION" not in code:
        return waiting.append(code)
    session = session or Psql("sudo -u postgres psql")
    typed["sql"] += 1
    found = re.search(r"vpk_live_\w+", session.type(code))
    token = found[0] if found else token
    if not installed:
        installed = True
        for code in waiting:
            type_sql(code)


session, installed, waiting = None, False, []
for language, code in blocks():
    if language in ["sh", "ini", "sql"]:
        globals()[f"type_{language}"](code)
if not (typed["sh"] and typed["sql"] > 1 and installed):
    sys.exit(f"{document}: too little was typed: {typed}")
print(f"{document}: typed {typed}")
