use std::path::{Path, PathBuf};

use clap::{CommandFactory as _, Parser as _};

use super::{Cli, Command};

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_data_directory_may_stand_before_and_after_the_command() {
    let directories = |line| {
        let cli = parse(line).unwrap();
        let Command::Bucket(it) = cli.command else {
            panic!("{line} is a bucket command");
        };
        (cli.data, it.data)
    };
    let some = |path: &str| Some(PathBuf::from(path));
    assert_eq!(
        directories("fractus --data /a bucket ls --data /b"),
        (some("/a"), some("/b"))
    );
    assert_eq!(directories("fractus bucket --data /b ls").1, some("/b"));
}

#[test]
fn what_invoke_sends_is_not_a_directory() {
    let cli = parse("fractus --data /a --json invoke hello --data {}").unwrap();
    assert!(cli.json);
    assert_eq!(cli.data.as_deref(), Some(Path::new("/a")));
    let Command::Invoke(args) = cli.command else {
        panic!("an invoke command");
    };
    assert_eq!(args.data_dir, None);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for line in [
        "fractus",
        "fractus up --edge nowhere",
        "fractus invoke not.a.name",
        "fractus deploy . --env NOVALUE",
        "fractus deploy . --memory lots",
        "fractus invoke hello --header novalue",
        "fractus cp fractus:///k b",
        "fractus rm",
        "fractus logs x --lines -1",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}
