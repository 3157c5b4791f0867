//! An authority's life through the command, in a folder of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use slr_ca::{Authority, Certificate, Standing};

fn slr_ca(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_slr-ca")).arg("--dir").arg(dir.join("ca")).args(args).output().unwrap()
}

fn ok(dir: &Path, args: &[&str]) -> String {
    let output = slr_ca(dir, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(dir: &Path, args: &[&str]) -> String {
    let output = slr_ca(dir, args);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

fn begun() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    ok(dir.path(), &["init", "--trust-domain", "example.net"]);
    dir
}

/// `issue` for h1 with the usual claims and these options.
fn issue_h1<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = ["issue", "--role", "host", "--name", "h1", "--tunnel", "10.1.11.2/32", "--subnet", "192.0.2.0/24"];
    [&args[..], &["--subnet", "2001:db8:aa::/64", "--out", out], more].concat()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_node_gets_its_files_and_the_keys_are_secret() {
    let dir = begun();
    let out = dir.path().join("h1");
    ok(dir.path(), &issue_h1(out.to_str().unwrap(), &[]));
    let certificate = Certificate::read(&out.join("h1.pem")).unwrap();
    let identity = certificate.identity.unwrap();
    assert_eq!(identity.to_string(), "slr://example.net/host/h1");
    assert_eq!((identity.tunnels.len(), identity.subnets.len()), (1, 2));
    let life = certificate.not_after.unix() - certificate.not_before.unix();
    assert_eq!(life, 90 * 86_400 + 300, "ninety days, and five minutes for late clocks");
    assert_eq!(mode(&out.join("h1-key.pem")), 0o600);
    assert_eq!(mode(&dir.path().join("ca/ca-key.pem")), 0o600);
    assert_eq!(mode(&out.join("h1.pem")), 0o644);
    assert_eq!(fs::read(out.join("ca.pem")).unwrap(), fs::read(dir.path().join("ca/ca.pem")).unwrap());
    assert_eq!(fs::read(out.join("crl.pem")).unwrap(), fs::read(dir.path().join("ca/crl.pem")).unwrap());
    assert!(fs::read_dir(&out).unwrap().count() == 4, "no temporary file is left");
}

#[test]
fn mistakes_are_refused_with_what_to_do() {
    let dir = begun();
    let path = dir.path();
    let out = path.join("out");
    let out = out.to_str().unwrap();
    ok(path, &issue_h1(out, &[]));
    let host = |name: &'static str, tunnel: &'static str| {
        vec!["issue", "--role", "host", "--name", name, "--tunnel", tunnel, "--out", out]
    };
    let table: Vec<(Vec<&str>, &str)> = vec![
        (vec!["init", "--trust-domain", "example.net"], "choose another --dir"),
        (issue_h1(out, &[]), "use slr-ca renew h1"),
        (vec!["renew", "h9"], "slr-ca issue makes the first one"),
        (vec!["revoke", "h9"], "slr-ca show lists all"),
        (vec!["revoke", "--serial", "abc"], "no valid certificate with serial abc"),
        (host("h2", "10.0.0.0/24"), "prefixes are for SLRs"),
        (host("h2", "127.0.0.1/32"), "write a unicast address"),
        (host("ca", "10.0.0.1/32"), "choose a name other than"),
        (host("h1-key", "10.0.0.1/32"), "choose a name other than"),
        ([host("h2", "10.0.0.1/32"), vec!["--days", "9999"]].concat(), "choose a shorter life"),
        (vec!["show", "/nowhere.pem"], "cannot read /nowhere.pem"),
    ];
    for (args, message) in table {
        let stderr = refused(path, &args);
        assert!(stderr.contains(message), "{args:?}: {stderr}");
    }
    let nowhere = tempfile::tempdir().unwrap();
    assert!(refused(nowhere.path(), &["show"]).contains("slr-ca init"));
    assert!(refused(nowhere.path(), &["init", "--trust-domain", "Example"]).contains("is not a trust domain"));
    ok(nowhere.path(), &["init", "--trust-domain", "example.org"]);
    assert!(refused(nowhere.path(), &host("h2", "10.0.0.1/32")).contains("is another authority's"));
}

#[test]
fn renewal_keeps_the_claims_and_the_earlier_certificate() {
    let dir = begun();
    let out = dir.path().join("h1");
    ok(dir.path(), &issue_h1(out.to_str().unwrap(), &["--days", "1"]));
    let first = Certificate::read(&out.join("h1.pem")).unwrap();
    let key = fs::read(out.join("h1-key.pem")).unwrap();
    ok(dir.path(), &["renew", "h1", "--out", out.to_str().unwrap()]);
    let second = Certificate::read(&out.join("h1.pem")).unwrap();
    assert_eq!(first.identity, second.identity);
    assert_ne!(first.serial, second.serial);
    assert!(second.not_after > first.not_after);
    assert_ne!(key, fs::read(out.join("h1-key.pem")).unwrap(), "a renewal has a key of its own");
    ok(dir.path(), &["renew", "h1", "--subnet", "198.51.100.0/24", "--out", out.to_str().unwrap()]);
    let third = Certificate::read(&out.join("h1.pem")).unwrap().identity.unwrap();
    assert_eq!(third.subnets.len(), 1);
    assert_eq!(third.tunnels, first.identity.unwrap().tunnels);
    let authority = Authority::open(&dir.path().join("ca")).unwrap();
    let now = slr_ca::Moment::now();
    let valid = |entry: &&slr_ca::Entry| matches!(entry.standing(now), Standing::Valid(_));
    assert_eq!(authority.index().certificates.iter().filter(valid).count(), 3);
}

#[test]
fn revocation_lists_every_certificate_of_the_node() {
    let dir = begun();
    let (out, copy) = (dir.path().join("h1"), dir.path().join("node"));
    let (out, copy) = (out.to_str().unwrap(), copy.to_str().unwrap());
    ok(dir.path(), &issue_h1(out, &[]));
    ok(dir.path(), &["renew", "h1", "--out", out]);
    let said = ok(dir.path(), &["revoke", "h1", "--reason", "key-compromise", "--out", copy]);
    assert_eq!(said.matches("is revoked").count(), 2, "{said}");
    let pem = fs::read(Path::new(copy).join("crl.pem")).unwrap();
    let block = x509_parser::pem::Pem::iter_from_buffer(&pem).next().unwrap().unwrap();
    let (_, list) = x509_parser::parse_x509_crl(&block.contents).unwrap();
    assert_eq!(list.iter_revoked_certificates().count(), 2);
    let days = (list.next_update().unwrap().timestamp() - list.last_update().timestamp()) / 86_400;
    assert_eq!(days, 35);
    // A revoked name may be issued again: the machine may come back, repaired.
    ok(dir.path(), &issue_h1(out, &[]));
    let list_number = list.crl_number().unwrap().clone();
    ok(dir.path(), &["sign-crl", "--out", copy]);
    let pem = fs::read(Path::new(copy).join("crl.pem")).unwrap();
    let block = x509_parser::pem::Pem::iter_from_buffer(&pem).next().unwrap().unwrap();
    let (_, again) = x509_parser::parse_x509_crl(&block.contents).unwrap();
    assert_eq!(again.iter_revoked_certificates().count(), 2);
    assert!(*again.crl_number().unwrap() > list_number);
}

#[test]
fn show_lists_states_and_warns_of_what_ends() {
    let dir = begun();
    let out = dir.path().join("out");
    let out = out.to_str().unwrap();
    ok(dir.path(), &issue_h1(out, &["--valid-for", "5s"]));
    ok(dir.path(), &["sign-crl", "--crl-days", "3"]);
    let output = slr_ca(dir.path(), &["show"]);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains("renew it"), "{stdout}");
    assert!(stderr.contains("run slr-ca renew h1") && stderr.contains("run slr-ca sign-crl"), "{stderr}");
    let json: serde_json::Value = serde_json::from_str(&ok(dir.path(), &["show", "--json"])).unwrap();
    assert_eq!(json["certificates"][0]["name"], "h1");
    assert_eq!(json["warnings"].as_array().unwrap().len(), 2);
    let file = format!("{out}/h1.pem");
    let json: serde_json::Value = serde_json::from_str(&ok(dir.path(), &["show", "--json", &file])).unwrap();
    assert_eq!(json["role"], "host");
    assert!(ok(dir.path(), &["show", &file]).contains("slr://example.net/host/h1"));
    assert!(ok(dir.path(), &["show", &format!("{out}/ca.pem")]).contains("an authority's certificate"));
}

#[test]
fn commands_at_the_same_time_wait_for_each_other() {
    let dir = begun();
    let names: Vec<String> = (0..8).map(|i| format!("h{i}")).collect();
    let children: Vec<_> = names
        .iter()
        .map(|name| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_slr-ca"));
            command.arg("--dir").arg(dir.path().join("ca")).args(["issue", "--role", "host", "--name", name]);
            command.args(["--tunnel", "10.0.0.1/32", "--out"]).arg(dir.path().join("out"));
            command.stdout(std::process::Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let authority = Authority::open(&dir.path().join("ca")).unwrap();
    assert_eq!(authority.index().certificates.len(), names.len());
}
