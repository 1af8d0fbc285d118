//! Functions and the node keep out of each other's way: what one has, another does not reach.

use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Bench, Function, are_there_groups, processes};

/// Has one function do something that lasts, and another look for it meanwhile.
async fn meanwhile(bench: &Arc<Bench>, lasts: &str, looks: &str) -> Value {
    let one = bench.probe(|_| {});
    let other = bench.probe(|_| {});
    other.python("answer = 1").await.unwrap();
    let lasting = format!("{lasts}\nprint('begun', flush=True)\ntime.sleep(1.5)\nanswer = 'done'");
    let mut lasting = pin!(one.python(&lasting));
    let looking = async {
        while !one.has_logged("begun") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        other.python(looks).await.unwrap()
    };
    tokio::select! {
        looked = looking => looked,
        lasted = &mut lasting => panic!("it did not last: {lasted:?}"),
    }
}

const CONNECT: &str = r#"
def connect(address, family=socket.AF_INET, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as s:
        s.settimeout(1)
        result = attempt(s.connect, address)
        return result if result else attempt(s.send, b"x") and "sent"
"#;

#[tokio::test]
async fn another_functions_loopback_is_another() {
    let lasts = "
s = socket.socket()
s.bind(('0.0.0.0', 5555))
s.listen()
u = socket.socket(type=socket.SOCK_DGRAM)
u.bind(('127.0.0.1', 5555))
";
    let looks = format!(
        "{CONNECT}
answer = [connect(('127.0.0.1', 5555)), connect(('0.0.0.0', 5555)), connect(('127.0.0.2', 5555)),
          connect(('::1', 5555), socket.AF_INET6)]
own = socket.socket()
own.bind(('127.0.0.1', 5555))"
    );
    let told = meanwhile(&Bench::shared(), lasts, &looks).await;
    assert_eq!(
        told,
        json!([
            "ECONNREFUSED",
            "ECONNREFUSED",
            "ECONNREFUSED",
            "ECONNREFUSED"
        ])
    );
}

#[tokio::test]
async fn abstract_sockets_are_its_own() {
    let lasts = "
s = socket.socket(socket.AF_UNIX)
s.bind(b'\\0fractus-neighbour')
s.listen()
";
    let name = format!("fractus-host-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let host = UnixListener::bind_addr(&address).unwrap();
    let looks = format!(
        "{CONNECT}
answer = [connect(b'\\0fractus-neighbour', socket.AF_UNIX), connect(b'\\0{name}', socket.AF_UNIX)]
own = socket.socket(socket.AF_UNIX)
own.bind(b'\\0fractus-neighbour')
own.listen()
answer.append(connect(b'\\0fractus-neighbour', socket.AF_UNIX))"
    );
    let told = meanwhile(&Bench::shared(), lasts, &looks).await;
    assert_eq!(told, json!(["ECONNREFUSED", "ECONNREFUSED", "sent"]));
    host.set_nonblocking(true).unwrap();
    assert!(host.accept().is_err(), "nobody has connected");
}

#[tokio::test]
async fn the_nodes_ports_and_the_world_are_not_there() {
    let local = TcpListener::bind("127.0.0.1:0").unwrap();
    let any = TcpListener::bind("0.0.0.0:0").unwrap();
    let ports = [
        local.local_addr().unwrap().port(),
        any.local_addr().unwrap().port(),
    ];
    // The host's own address, if it has one; nothing is sent for that.
    let outward = UdpSocket::bind("0.0.0.0:0").unwrap();
    let own = outward
        .connect("192.0.2.1:9")
        .and_then(|()| outward.local_addr());
    let own = own.map_or("127.0.0.1".to_owned(), |address| address.ip().to_string());
    let code = format!(
        "{CONNECT}
near = [connect((host, port)) for port in {ports:?} for host in ('127.0.0.1', '127.0.1.1', '0.0.0.0')]
far = [connect((host, port), kind=kind) for host, port in (
    ('{own}', {any_port}), ('169.254.169.254', 80), ('192.0.2.1', 80), ('10.0.0.1', 53))
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM) if host != '127.0.0.1']
far += [connect(('2001:db8::1', 80), socket.AF_INET6)]
names = [name for _, name in socket.if_nameindex()]
answer = [near, far, names]",
        any_port = ports[1]
    );
    let probe = Bench::shared().probe(|_| {});
    let told = probe.python(&code).await.unwrap();
    for result in told[0].as_array().unwrap() {
        assert_eq!(result, "ECONNREFUSED", "{told}");
    }
    for result in told[1].as_array().unwrap() {
        assert_eq!(result, "ENETUNREACH", "{told}");
    }
    assert!(told[2].as_array().unwrap().contains(&json!("lo")));
    for listener in [local, any] {
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "nobody has connected");
    }
}

#[tokio::test]
async fn shared_memory_and_message_queues_are_its_own() {
    let lasts = format!(
        "made = syscall({}, 4242, 4096, 0o1666)
if made < 0: raise OSError(-made)
syscall({}, 4242, 0o1666)",
        libc::SYS_shmget,
        libc::SYS_msgget
    );
    let looks = format!(
        "answer = [syscall({}, 4242, 4096, 0), syscall({}, 4242, 0), read('/proc/self/uid_map')]",
        libc::SYS_shmget,
        libc::SYS_msgget
    );
    let told = meanwhile(&Bench::shared(), &lasts, &looks).await;
    assert_eq!(
        (&told[0], &told[1]),
        (&json!(-libc::ENOENT), &json!(-libc::ENOENT)),
        "{told}"
    );
}

#[tokio::test]
async fn files_and_environment_of_another_are_not_there() {
    let bench = Bench::shared();
    let secret = bench.function(
        &[
            ("f.py", include_str!("support/probe.py")),
            ("secret.txt", "of the one alone"),
        ],
        |manifest| {
            let _before = manifest
                .env
                .insert("SECRET".to_owned(), "s3cr3t-value".to_owned());
        },
    );
    let other = bench.probe(|_| {});
    let write = "open('/tmp/secret', 'w').write('x'); open('/dev/shm/secret', 'w').write('x'); \
                 answer = [os.environ['SECRET'], read('/var/task/secret.txt')]";
    let told = secret.python(write).await.unwrap();
    assert_eq!(told, json!(["s3cr3t-value", "of the one alone"]));
    let look = r#"
found = []
for top, folders, files in os.walk("/"):
    if top.startswith(("/usr", "/etc/ssl", "/lib", "/root", "/home", "/opt/hostedtoolcache")):
        del folders[:]
    found += [os.path.join(top, name) for name in folders + files if "secret" in name]
spilled = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    for name in ("environ", "cmdline", "maps", "mountinfo"):
        if "s3cr3t" in str(attempt(read, "/proc/%s/%s" % (pid, name))):
            spilled.append(name)
answer = [found, spilled, os.listdir("/tmp"), os.environ.get("SECRET"), sorted(os.listdir("."))]
"#;
    let told = other.python(look).await.unwrap();
    let own: Vec<_> = told[4]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| **f != "__pycache__")
        .collect();
    assert_eq!(told[0], json!([]));
    assert_eq!(told[1], json!([]));
    assert_eq!(told[2], json!([]));
    assert_eq!(told[3], Value::Null);
    assert_eq!(own, ["f.py"]);
}

#[tokio::test]
async fn each_instance_has_a_tmp_of_its_own() {
    let probe = Bench::shared().probe(|_| {});
    let code = "open('/tmp/%s' % TOKEN, 'w').close(); time.sleep(0.2); answer = os.listdir('/tmp')";
    let (one, other) = tokio::join!(probe.python(code), probe.python(code));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.as_array().unwrap().len(), 1, "{one}");
    assert_eq!(other.as_array().unwrap().len(), 1, "{other}");
    assert_ne!(one, other);
    // It is kept for the next call of the same instance.
    let again = probe.python("answer = os.listdir('/tmp')").await.unwrap();
    assert!(again == one || again == other, "{again}");
}

#[tokio::test]
async fn numbers_of_processes_outside_mean_nothing_inside() {
    let bench = Bench::new();
    let probe = bench.probe(|_| {});
    let mut others = vec![std::process::id(), 1];
    probe.python("answer = 1").await.unwrap();
    if are_there_groups(&bench.name) {
        others.extend(processes(&bench.name).iter().map(|seen| seen.pid));
    }
    let code = r#"
SYS_pidfd_open, SYS_readv, SYS_ptrace = NUMBERS
def look(pid):
    buffer = ctypes.create_string_buffer(64)
    iov = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 64)
    return [attempt(os.kill, pid, 0), attempt(os.kill, pid, 9), syscall(SYS_pidfd_open, pid, 0),
            attempt(open, "/proc/%d/mem" % pid, "rb"), attempt(os.readlink, "/proc/%d/root" % pid),
            syscall(SYS_readv, pid, iov, 1, iov, 1, 0), syscall(SYS_ptrace, 16, pid, 0, 0)]

answer = [look(pid) for pid in OTHERS if pid != 1]
"#;
    let numbers = [
        libc::SYS_pidfd_open,
        libc::SYS_process_vm_readv,
        libc::SYS_ptrace,
    ];
    let code = code.replace("NUMBERS", &format!("{numbers:?}"));
    let told = probe
        .python(&code.replace("OTHERS", &format!("{others:?}")))
        .await
        .unwrap();
    let (gone, refused) = (json!(-libc::ESRCH), json!(-libc::EPERM));
    let nothing = json!(["ESRCH", "ESRCH", gone, "ENOENT", "ENOENT", refused, refused]);
    assert!(!told.as_array().unwrap().is_empty());
    for looked in told.as_array().unwrap() {
        assert_eq!(*looked, nothing);
    }
}

#[tokio::test]
async fn what_is_random_is_not_shared_by_those_that_were_forked_alike() {
    let bench = Bench::shared();
    let code = r"
import random, secrets, ssl, tempfile, uuid
answer = [TOKEN, random.random(), secrets.token_hex(8), ssl.RAND_bytes(16).hex(), str(uuid.uuid4()),
          str(uuid.uuid1()), tempfile.mktemp(), os.urandom(8).hex()]
";
    let probe: Function = bench.probe(|manifest| manifest.instances.idle_s = 0);
    let mut seen: Vec<Vec<String>> = Vec::new();
    for _ in 0..8 {
        let told = probe.python(code).await.unwrap();
        let told = told
            .as_array()
            .unwrap()
            .iter()
            .map(Value::to_string)
            .collect();
        seen.push(told);
    }
    for at in 0..seen[0].len() {
        let mut values: Vec<&String> = seen.iter().map(|told| &told[at]).collect();
        values.sort_unstable();
        values.dedup();
        assert_eq!(values.len(), seen.len(), "{values:?}");
    }
}
