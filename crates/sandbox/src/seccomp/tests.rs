use super::{
    ABSENT, ALLOW, ALLOWED, ALLOWED_HERE, ARCH, ARCH_HERE, CLONE_NEW, ERRNO, JUMP, JUMP_ANY_BIT,
    JUMP_AT_LEAST, JUMP_EQUAL, KILL, LOAD, NUMBER, RETURN, filter, program,
};

/// What the filter answers to a call, as the kernel would run it.
fn run(arch: u32, number: u32, arguments: [u32; 6]) -> u32 {
    let program = program();
    let (mut at, mut loaded) = (0, 0);
    loop {
        let i = program[at];
        at += 1;
        let jump = |holds: bool| usize::from(if holds { i.skip.0 } else { i.skip.1 });
        match i.code {
            LOAD => {
                loaded = match i.value {
                    NUMBER => number,
                    ARCH => arch,
                    argument => arguments[(argument as usize - 16) / 8],
                }
            }
            JUMP => at += i.value as usize,
            JUMP_EQUAL => at += jump(loaded == i.value),
            JUMP_AT_LEAST => at += jump(loaded >= i.value),
            JUMP_ANY_BIT => at += jump(loaded & i.value != 0),
            RETURN => return i.value,
            code => panic!("no such instruction: {code:#x}"),
        }
    }
}

fn of(number: i64, arguments: [u32; 6]) -> u32 {
    run(ARCH_HERE, u32::try_from(number).unwrap(), arguments)
}

const EPERM: u32 = ERRNO + 1;
const ENOSYS: u32 = ERRNO + 38;

#[test]
fn every_number_fares_as_the_lists_say() {
    let special = [libc::SYS_clone, libc::SYS_socket, libc::SYS_personality];
    for number in 0..2048 {
        let expected = if special.contains(&number) {
            continue;
        } else if ABSENT.contains(&number) {
            ENOSYS
        } else if ALLOWED.contains(&number) || ALLOWED_HERE.contains(&number) {
            ALLOW
        } else {
            EPERM
        };
        assert_eq!(of(number, [0; 6]), expected, "{number}");
    }
    assert_eq!(run(ARCH_HERE, 0x4000_0000, [0; 6]), EPERM, "x32");
    assert_eq!(run(0x4000_0003, 0, [0; 6]), KILL, "i386");
}

#[test]
fn arguments_decide_where_they_matter() {
    let one = |argument| [argument, 0, 0, 0, 0, 0];
    assert_eq!(of(libc::SYS_clone, one(0x0100_0011)), ALLOW);
    for bit in (0..32)
        .map(|bit| 1 << bit)
        .filter(|bit| CLONE_NEW & bit != 0)
    {
        assert_eq!(of(libc::SYS_clone, one(0x11 | bit)), EPERM);
    }
    for (family, protocol, answer) in [
        (libc::AF_UNIX, 0, ALLOW),
        (libc::AF_INET, 6, ALLOW),
        (libc::AF_INET6, 17, ALLOW),
        (libc::AF_INET, 132, EPERM),
        (libc::AF_INET, 262, EPERM),
        (libc::AF_NETLINK, 0, ALLOW),
        (libc::AF_NETLINK, 9, EPERM),
        (libc::AF_PACKET, 0, EPERM),
        (libc::AF_VSOCK, 0, EPERM),
        (libc::AF_ALG, 0, EPERM),
    ] {
        let arguments = [family.cast_unsigned(), 1, protocol, 0, 0, 0];
        assert_eq!(
            of(libc::SYS_socket, arguments),
            answer,
            "{family} {protocol}"
        );
    }
    for (persona, answer) in [(0, ALLOW), (0xffff_ffff, ALLOW), (0x0004_0000, EPERM)] {
        assert_eq!(of(libc::SYS_personality, one(persona)), answer);
    }
}

#[test]
fn the_filter_is_short() {
    let length = filter().len() / 8;
    assert!((32..512).contains(&length), "{length} instructions");
}
