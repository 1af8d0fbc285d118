use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Addresses, Credentials, DataDir, DataDirError};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_directory_has_one_owner_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b");
    let owned = DataDir::open(&path).unwrap();
    assert_eq!(mode(&path), 0o700);
    let refused = DataDir::open(&path).unwrap_err();
    let pid = std::process::id();
    assert!(
        refused
            .to_string()
            .contains(&format!("another node (pid {pid}) runs on"))
    );
    // As a child has it that was forked a moment ago.
    let _copy = owned.lock.try_clone().unwrap();
    drop(owned);
    DataDir::open(&path).unwrap();
}

#[test]
fn what_is_not_ours_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for (name, mode) in [("home", 0o755), ("tmp", 0o1777), ("var", 0o755)] {
        fs::create_dir(path(name)).unwrap();
        fs::set_permissions(path(name), Permissions::from_mode(mode)).unwrap();
    }
    fs::write(path("home/letter"), "dear").unwrap();
    fs::create_dir_all(path("var/lock")).unwrap();
    fs::create_dir_all(path("var/cache")).unwrap();
    for (name, before) in [("home", 0o755), ("tmp", 0o777), ("var", 0o755)] {
        let error = DataDir::open(&path(name)).unwrap_err();
        assert!(matches!(error, DataDirError::Foreign { .. }), "{error}");
        let told = error.to_string();
        assert!(told.contains("--data") && told.contains(name), "{told}");
        assert_eq!(mode(&path(name)), before, "{name}");
        assert!(!path(name).join("credentials.json").exists());
    }
    assert!(DataDir::open(&path("home/letter")).is_err());
}

#[test]
fn what_is_ours_or_empty_is_closed_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    fs::create_dir(&path).unwrap();
    // The second time it holds credentials, and a file of the user's.
    for _ in 0..2 {
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        DataDir::open(&path).unwrap().credentials().unwrap();
        assert_eq!(mode(&path), 0o700);
        fs::write(path.join("fractus.toml"), "").unwrap();
    }
    // Nor is a start that was cut short a hindrance, or credentials that were deleted.
    fs::remove_file(path.join("fractus.toml")).unwrap();
    fs::remove_file(path.join("credentials.json")).unwrap();
    DataDir::open(&path).unwrap();
    fs::write(path.join("registry.db"), "").unwrap();
    fs::create_dir(path.join("store")).unwrap();
    DataDir::open(&path).unwrap();
}

#[test]
fn credentials_are_made_once_and_kept_private() {
    let dir = tempfile::tempdir().unwrap();
    let made = DataDir::open(dir.path()).unwrap().credentials().unwrap();
    let file = dir.path().join("credentials.json");
    assert_eq!(mode(&file), 0o600);
    assert_eq!(made.access_key_id.len(), 20);
    assert_eq!(made.secret_access_key.len(), 40);
    assert_eq!(made.admin_token.len(), 64);
    assert!(!format!("{made:?}").contains(&made.admin_token));

    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let again = DataDir::open(dir.path()).unwrap().credentials().unwrap();
    assert_eq!(again.admin_token, made.admin_token);
    assert_eq!(mode(&file), 0o600);
    assert_eq!(
        Credentials::read(dir.path()).unwrap().admin_token,
        made.admin_token
    );
}

#[test]
fn damaged_credentials_are_never_replaced_unasked() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("credentials.json"), "{").unwrap();
    let error = DataDir::open(dir.path())
        .unwrap()
        .credentials()
        .unwrap_err();
    assert!(matches!(error, DataDirError::Damaged { .. }));
    assert_eq!(fs::read(dir.path().join("credentials.json")).unwrap(), b"{");
}

#[test]
fn a_stale_announcement_is_replaced_and_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("node.json"), "left by a crash").unwrap();
    let data = DataDir::open(dir.path()).unwrap();
    let address = "127.0.0.1:1".parse().unwrap();
    let addresses = Addresses {
        pid: 7,
        edge: address,
        api: address,
        admin: address,
    };
    data.announce(&addresses).unwrap();
    assert_eq!(Addresses::read(dir.path()).unwrap(), addresses);
    data.withdraw().unwrap();
    data.withdraw().unwrap();
    assert!(Addresses::read(dir.path()).is_err());
}
