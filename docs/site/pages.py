"""The pages of the site: the Markdown files of the repository, at their places, and the files that
they link to. So a link works in the repository and on the site alike.
"""

import posixpath
import re
import subprocess
from pathlib import Path

from markdown.blockprocessors import OListProcessor
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(\]\()([^)\s#]+)")
ITEM = re.compile(r"( *)([-*]|\d+\.)( +)\S")
FENCE = re.compile(r" *```")

# A list that goes on behind a block begins with the number that it is written with.
OListProcessor.LAZY_OL = False


def tracked():
    """The files under version control or new, as paths in the tree."""
    command = ["git", "-C", ROOT, "ls-files", "-z", "-co", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {name for name in names.split("\0") if (ROOT / name).is_file()}


def target(page, link):
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def on_files(files, config):
    names = tracked()
    pages = {name for name in names if name.endswith(".md")}
    linked = {
        target(page, link) for page in pages for _, link in LINK.findall((ROOT / page).read_text())
    }
    for name in sorted(pages | (linked & names)):
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def lists(markdown):
    """Indents what is in a list by four columns a level, which Python-Markdown needs. In CommonMark
    it begins below the text of its item.
    """
    levels, fenced = [], False
    for line in markdown.split("\n"):
        indent = len(line) - len(line.lstrip(" "))
        if not fenced and line.strip():
            while levels and indent < levels[-1]:
                levels.pop()
        depth = len(levels)
        # In a fenced block, the text may begin left of the list.
        rest = line[min(indent, levels[-1] if levels else 0) :]
        yield "    " * depth + rest if line.strip() else line
        if FENCE.match(line):
            fenced = not fenced
        elif not fenced and (item := ITEM.match(line)):
            levels.append(item.end() - 1)


def on_page_markdown(markdown, page, files, **_):
    """A link to a folder leads to its README, as it does where the repository is shown, or else to
    that of the folder above.
    """
    start = page.file.src_uri

    def readme(match):
        folder = target(start, match[2])
        if ":" in match[2] or not (ROOT / folder).is_dir():
            return match[0]
        while folder and not files.get_file_from_path(f"{folder}/README.md"):
            folder = posixpath.dirname(folder)
        readme = posixpath.join(folder, "README.md")
        return match[1] + posixpath.relpath(readme, posixpath.dirname(start) or ".")

    return "\n".join(lists(LINK.sub(readme, markdown)))
