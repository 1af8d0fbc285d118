//! New code while the old one is called.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::native::client::Client;
use crate::native::{cloud, deploy};

const CLIENTS: usize = 8;
const UPDATES: u64 = 10;

#[test]
fn no_call_fails_and_no_old_answer_comes_after_an_update() {
    let (directory, node) = cloud();
    let edge = node.address("edge");
    let code = |version: u64| format!("def f(event):\n    return {version}\n");
    deploy(&directory, &node, "changing", &[("f.py", &code(0))]);
    let acknowledged = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    let call = |client: &mut Client| {
        let least = acknowledged.load(Ordering::SeqCst);
        let answer = client.send("POST ", &[], b"null").unwrap().json(200);
        let version = answer.as_u64().unwrap();
        assert!(
            version >= least,
            "version {version} after {least} was acknowledged"
        );
    };
    let calls = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::at(edge, "changing").unwrap();
                while !done.load(Ordering::SeqCst) {
                    call(&mut client);
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for version in 1..=UPDATES {
            let before = calls.load(Ordering::SeqCst);
            deploy(&directory, &node, "changing", &[("f.py", &code(version))]);
            acknowledged.store(version, Ordering::SeqCst);
            crate::support::until("every client has called it", || {
                (calls.load(Ordering::SeqCst) > before + CLIENTS as u64).then_some(())
            });
        }
        done.store(true, Ordering::SeqCst);
    });
    println!("{calls:?} calls");
}
