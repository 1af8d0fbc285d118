use std::fs;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rustix::net::SocketType;

use super::{Confinement, Program, native, start};
use crate::cgroup::{Groups, Trees};
use crate::keeper::{Keeper, Users, await_ready};
use crate::landlock;
use crate::opener::Opener;
use crate::profile::Root;
use crate::sys::{send_fds, socket_pair};

/// What a script prints in a sandbox.
fn run(script: &str) -> String {
    let groups = Arc::new(Groups::open(Trees::None(String::new())).unwrap());
    let keeper = Keeper::start(Users::here(), &groups).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let root = Root::base(folder.path()).with_programs();
    let (near, far) = socket_pair(SocketType::STREAM).unwrap();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let began = Instant::now();
    let plan = native(&root, keeper.users().privileged());
    let fds = [far.as_fd(), writer.as_fd(), writer.as_fd()];
    let spawned = keeper.spawn(&plan, near.as_fd(), &fds).unwrap();
    drop(far);
    await_ready(near.as_fd()).unwrap();
    eprintln!("ready after {:?}", began.elapsed());
    let code = Opener::start(&keeper).unwrap().open(folder.path()).unwrap();
    let with = Confinement {
        guest: keeper.users().guest(),
        landlock: landlock::version(),
        tmp_bytes: 1 << 20,
        data: None,
        processes: None,
    };
    let program = Program {
        path: Path::new("/bin/sh").to_owned(),
        arguments: vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()],
        env: vec![("PATH".to_owned(), "/usr/bin".to_owned())],
    };
    let plan = start(&with, &program).encode().unwrap();
    send_fds(near.as_fd(), &plan, &[code.as_fd()]).unwrap();
    drop(writer);
    let mut printed = String::new();
    fs::File::from(reader).read_to_string(&mut printed).unwrap();
    eprintln!("ended after {:?}", began.elapsed());
    drop(spawned);
    printed
}

#[test]
fn a_sandbox_has_its_own_root_and_no_privileges() {
    let printed = run(
        "id; ls -la / /dev /etc; grep -E 'Cap|Seccomp|NoNew' /proc/self/status; \
         cat /proc/mounts; ls /proc; hostname; cat /proc/net/dev; touch /x; mount -t tmpfs x /mnt; \
         unshare -U true; echo x > /tmp/y && cat /tmp/y; ps",
    );
    eprintln!("{printed}");
    assert!(printed.contains("uid="), "{printed}");
}
