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

#[test]
fn the_first_site_by_hand_is_accepted() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let blocks = blocks(&readme, "toml");
    assert_eq!(blocks.len(), 3, "hostd.toml, slr-router.toml, hosts.toml");
    let dir = std::env::temp_dir().join(format!("slr-readme-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    for (name, text) in ["hostd.toml", "slr-router.toml", "hosts.toml"].iter().zip(&blocks) {
        fs::write(dir.join(name), text).unwrap();
    }
    check("hostd", &dir.join("hostd.toml"));
    check("slr-router", &dir.join("slr-router.toml"));
    fs::remove_dir_all(&dir).unwrap();
}
