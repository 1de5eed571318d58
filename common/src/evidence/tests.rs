use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::*;
use crate::secrets::Secrets;

struct Keys {
    dir: TempDir,
}

impl Keys {
    /// Two keys, `ours` and `strange`; only the first stands in the list of signers.
    fn new() -> Self {
        let keys = Self { dir: tempfile::tempdir().unwrap() };
        for name in ["ours", "strange"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
                .arg(keys.key(name))
                .status();
            assert!(made.unwrap().success());
        }
        keys.allow("");
        keys
    }

    fn key(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn signers(&self) -> PathBuf {
        self.dir.path().join("signers")
    }

    fn allow(&self, options: &str) {
        let public = fs::read_to_string(self.key("ours.pub")).unwrap();
        fs::write(self.signers(), format!("builder@dev {options} {public}")).unwrap();
    }

    fn refuses(&self, signed: &Signed) -> Problem {
        signed.check(&self.signers()).expect_err("it must not be believed")
    }
}

fn statement() -> Statement {
    Statement {
        version: VERSION,
        product: "0.1.0".into(),
        app: "viewer".into(),
        environment: "dev".into(),
        deployment: "20261123T093012Z-3f2a9c1".into(),
        revision: "3f2a9c1".repeat(5),
        tree: "0123456789".repeat(4),
        host: "builder".into(),
        verified_at: "2026-11-23T09:30:12.345Z".parse().unwrap(),
        outcome: Outcome::Succeeded,
    }
}

#[test]
fn what_an_allowed_signer_signed_is_believed() {
    let keys = Keys::new();
    let signed = statement().sign(&keys.key("ours")).unwrap();
    for options in ["", "namespaces=\"verification@agent-deploy\"", "valid-after=\"20200101\""] {
        keys.allow(options);
        let witnessed = signed.check(&keys.signers()).unwrap();
        assert_eq!((witnessed.statement, witnessed.signer.as_str()), (statement(), "builder@dev"));
        assert!(witnessed.key.starts_with("SHA256:"));
    }
}

#[test]
fn one_changed_byte_anywhere_is_refused() {
    let keys = Keys::new();
    let signed = statement().sign(&keys.key("ours")).unwrap();
    for at in (0..signed.statement.len()).step_by(5) {
        let mut bytes = signed.statement.clone().into_bytes();
        bytes[at] ^= 1;
        let statement = String::from_utf8(bytes).unwrap();
        let tampered = Signed { statement, ..signed.clone() };
        assert_eq!(keys.refuses(&tampered).kind, "signature-refused", "{}", tampered.statement);
    }
    for statement in ["", " ", "{}", "\0"] {
        let tampered = Signed { statement: statement.into(), ..signed.clone() };
        assert_eq!(keys.refuses(&tampered).kind, "signature-refused");
    }
    for signature in ["", "nonsense", "-----BEGIN SSH SIGNATURE-----\n", "../../etc/passwd"] {
        let tampered = Signed { signature: signature.into(), ..signed.clone() };
        assert_eq!(keys.refuses(&tampered).kind, "signature-refused");
    }
}

#[test]
fn strangers_other_purposes_and_keys_out_of_time_are_refused() {
    let keys = Keys::new();
    let strange = statement().sign(&keys.key("strange")).unwrap();
    assert_eq!(keys.refuses(&strange).kind, "signature-refused");
    let signed = statement().sign(&keys.key("ours")).unwrap();
    for options in [
        "namespaces=\"git\"",
        "namespaces=\"file,git\"",
        "valid-before=\"20200101\"",
        "valid-after=\"20990101\"",
    ] {
        keys.allow(options);
        let problem = keys.refuses(&signed);
        assert_eq!(problem.kind, "signature-refused", "{options}");
        assert!(problem.detail.is_some_and(|detail| !detail.is_empty()), "{options}");
    }
    fs::write(keys.signers(), "").unwrap();
    assert_eq!(keys.refuses(&signed).kind, "signature-refused");
}

#[test]
fn a_signature_made_for_something_else_is_none_for_us() {
    let keys = Keys::new();
    let text = keys.dir.path().join("text");
    fs::write(&text, statement().text()).unwrap();
    let made = Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", "git", "-f"])
        .args([keys.key("ours"), text.clone()])
        .status();
    assert!(made.unwrap().success());
    let signature = fs::read_to_string(text.with_extension("sig")).unwrap();
    let problem = keys.refuses(&Signed { statement: statement().text(), signature });
    assert_eq!(problem.kind, "signature-refused");
}

/// Signed rightly, and still none of ours: another version, members we do not know, another form.
#[test]
fn only_the_form_that_we_write_is_read() {
    let text = statement().text();
    assert_eq!(Statement::read(&text).unwrap(), statement());
    for (from, to, words) in [
        ("\"version\":1", "\"version\":2", "contract version 2"),
        ("{\"version\"", "{ \"version\"", "form"),
        ("\"dev\"", "\"\\u0064ev\"", "form"),
        ("{\"version\"", "{\"more\":1,\"version\"", "none of ours"),
        ("\"app\":\"viewer\"", "\"app\":\"viewer\",\"app\":\"other\"", "none of ours"),
        ("\"succeeded\"", "\"splendid\"", "none of ours"),
    ] {
        let problem = Statement::read(&text.replacen(from, to, 1)).unwrap_err();
        assert!(problem.title.contains(words), "{to}: {problem}");
    }
}

#[test]
fn a_key_that_cannot_sign_says_why_and_asks_nobody() {
    let keys = Keys::new();
    let locked = keys.key("locked");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "a passphrase", "-f"])
        .arg(&locked)
        .status();
    assert!(made.unwrap().success());
    fs::write(keys.key("nonsense"), "no key").unwrap();
    for key in [locked, keys.key("nonsense"), keys.key("nowhere")] {
        let problem = statement().sign(&key).unwrap_err();
        assert_eq!(problem.kind, "not-signed");
        assert!(problem.hint.is_some() && problem.detail.is_some_and(|detail| !detail.is_empty()));
    }
    assert_eq!(check_key(&keys.key("nowhere")).unwrap_err().kind, "usage");
}

#[test]
fn a_list_of_signers_that_somebody_else_may_change_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let keys = Keys::new();
    check_signers(&keys.signers()).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(keys.signers(), Some(12_345), None).unwrap();
        assert!(check_signers(&keys.signers()).unwrap_err().title.contains("user 12345"));
        std::os::unix::fs::chown(keys.signers(), Some(0), None).unwrap();
    }
    fs::set_permissions(keys.signers(), fs::Permissions::from_mode(0o666)).unwrap();
    for file in [keys.signers(), keys.key("nowhere"), keys.dir.path().to_owned()] {
        assert_eq!(check_signers(&file).unwrap_err().kind, "configuration");
    }
}

/// A secret that happens to stand in the statement would otherwise break every signature.
#[test]
fn hiding_secrets_leaves_a_statement_whole_and_other_text_hidden() {
    let keys = Keys::new();
    let secrets = Secrets::parse("YEAR=2026\nHEAD=U1NIU0lH\nWORD=succeeded\n").unwrap();
    let mut report = Report::new("verify");
    let signed = statement().sign(&keys.key("ours")).unwrap();
    report.details.insert("verify".into(), serde_json::json!({"evidence": signed, "note": "in 2026"}));
    let hidden = secrets.hide_in_report(&report);
    assert_eq!(Signed::of(&hidden), Some(signed.clone()));
    assert_eq!(hidden.details["verify"]["note"], "in $YEAR");
    let other = Signed { statement: "a text with 2026".into(), ..signed };
    report.details.insert("verify".into(), serde_json::json!({"evidence": other}));
    assert!(!serde_json::to_string(&secrets.hide_in_report(&report)).unwrap().contains("2026 "));
    assert_eq!(Signed::of(&secrets.hide_in_report(&report)).unwrap().statement, "a text with $YEAR");
}
