//! What the README tells a newcomer to write is accepted by the daemons' own `check`.

use std::fs;
use std::path::Path;
use std::process::Command;

use xtask::site::program;

/// The fenced blocks of a language, in order.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).filter_map(|rest| Some(rest.split_once("```")?.0.to_owned())).collect()
}

fn check(name: &str, config: &Path) {
    let output = Command::new(program(name).unwrap()).arg("check").arg(config).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{name} refuses the README's example:\n{}", String::from_utf8_lossy(&text));
}

/// Runs the README's `slr-ca` commands in a folder.
fn issue(readme: &str, dir: &Path) {
    let commands: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("    slr-ca ")).collect();
    assert_eq!(commands.len(), 4, "init, the router, the host, the flow secret");
    for command in commands {
        let output =
            Command::new(program("slr-ca").unwrap()).current_dir(dir).args(command.split(' ')).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "slr-ca {command}:\n{text}");
    }
}

#[test]
fn the_first_site_by_hand_is_accepted() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let blocks = blocks(&readme, "toml");
    assert_eq!(blocks.len(), 2, "hostd.toml, slr-router.toml");
    let dir = std::env::temp_dir().join(format!("slr-readme-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    issue(&readme, &dir);
    for (name, text) in ["hostd.toml", "slr-router.toml"].iter().zip(&blocks) {
        // The files are where `slr-ca` put them, not yet where they are copied to.
        let node = if *name == "hostd.toml" { "h1" } else { "slr1" };
        let text = text.replace("/etc/slr/", &format!("{}/", dir.join(node).display()));
        fs::write(dir.join(name), text).unwrap();
    }
    check("hostd", &dir.join("hostd.toml"));
    check("slr-router", &dir.join("slr-router.toml"));
    fs::remove_dir_all(&dir).unwrap();
}
