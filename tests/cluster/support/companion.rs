//! Programs beside a server, in its folder and of its user, gone when the test ends.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::Cluster;

/// A running program: a shell ends it when the shell's input ends, and so also when the test's
/// process is killed.
pub struct Companion(Child);

impl Companion {
    /// Starts a program, whose output goes to `NAME.log`. Where it has started a server in the
    /// folder of that name, that is ended as well.
    pub fn start(cluster: &Cluster, name: &str, program: &str, arguments: &[&str]) -> Companion {
        // Such a server is no child of the program's, and would go on without it.
        const SCRIPT: &str = "trap '' INT TERM HUP
            name=$1
            shift
            \"$@\" </dev/null >>\"$name.log\" 2>&1 &
            cat >/dev/null
            kill -KILL $!
            wait
            if read -r server <\"$name/postmaster.pid\"; then
                kill -QUIT \"$server\"
                while kill -0 \"$server\"; do sleep 0.05; done
            fi";
        let shell = cluster.as_server_user(Path::new("/bin/sh"));
        let mut guard = Command::new(&shell[0]);
        guard.args(&shell[1..]).args(["-c", SCRIPT, "guard", name, program]).args(arguments);
        guard.current_dir(cluster.socket()).stdin(Stdio::piped()).stderr(Stdio::null());
        Companion(cluster.with_its_environment(&mut guard).spawn().expect("sh runs"))
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
