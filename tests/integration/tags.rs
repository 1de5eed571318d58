//! Tags of production deployments, signed and pushed, and what happens when that fails; `rollback`
//! to a version.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tests::ran::Ran;
use tests::world::World;

/// Deploys a version to dev and, promoted, to prod.
fn ship(world: &World, version: &str) -> Ran {
    world.release(version);
    world.run("deploy", &["dev"]).ok();
    let ran = world.run("deploy", &["prod", "--promote"]);
    ran.ok();
    ran
}

fn warnings(ran: &Ran) -> String {
    ran.report().details["deploy"]["warnings"].to_string()
}

fn commit_of(world: &World, tag: &str) -> String {
    world.git(&["rev-parse", &format!("refs/tags/{tag}^{{commit}}")])
}

fn tags(world: &World, pattern: &str) -> Vec<String> {
    world.git(&["tag", "--list", pattern]).lines().map(str::to_owned).collect()
}

fn remote_tags(world: &World) -> BTreeSet<String> {
    let listed = world.git(&["ls-remote", "--tags", "--refs", "origin"]);
    listed.lines().filter_map(|line| Some(line.split_once("refs/tags/")?.1.to_owned())).collect()
}

fn outstanding(world: &World) -> Vec<Value> {
    world.status("prod")["chores"].as_array().unwrap().iter().map(|chore| chore["chore"].clone()).collect()
}

#[test]
fn a_production_deployment_is_tagged_with_its_version_and_rollback_finds_it() {
    let world = World::new();
    let first = ship(&world, "1.4.0").report();
    let second = ship(&world, "v1.5.0-rc.1").report();
    for (tag, report) in [("v1.4.0", &first), ("v1.5.0-rc.1", &second)] {
        let deployment = report.deployment.clone().unwrap();
        assert_eq!(commit_of(&world, tag), report.serving.clone().unwrap());
        assert_eq!(world.git(&["cat-file", "-t", &format!("refs/tags/{tag}")]), "tag");
        let message = world.git(&["tag", "--list", "--format=%(contents)", tag]);
        assert!(message.contains(&format!("deploy/prod/{deployment}")), "{message}");
        let both = [tag.to_owned(), format!("deploy/prod/{deployment}")];
        assert!(remote_tags(&world).is_superset(&both.into()), "{:?}", remote_tags(&world));
    }
    assert!(world.run("status", &["dev"]).ok().report().details["status"]["dev"]["chores"] == json!([]));
    world.run("rollback", &["prod", "--to-version", "1.4.0"]).ok();
    assert_eq!(world.get("prod", "/").1, "1.4.0");
    world.run("rollback", &["prod", "--to-version", "v1.5.0-rc.1"]).ok();
    world.run("rollback", &["prod", "--to-version", "v1.4.0"]).ok();
    assert_eq!(world.get("prod", "/").1, "1.4.0");
    let tag = format!("deploy/prod/{}", second.deployment.unwrap());
    world.run("rollback", &["prod", "--to-version", &tag]).ok();
    assert_eq!(world.get("prod", "/").1, "v1.5.0-rc.1");
    world.run("rollback", &["dev", "--to-version", "1.4.0"]).ok();
}

#[test]
fn the_version_is_that_of_the_deployed_revision() {
    let world = World::new();
    world.write("package.json", "{\"version\": \"3.2.1\"}");
    let first = ship(&world, "not a version").report().serving.unwrap();
    assert_eq!(commit_of(&world, "v3.2.1"), first);
    world.write("pyproject.toml", "[project]\nversion = \"3.3.0\"\n");
    let second = ship(&world, "v9").report().serving.unwrap();
    world.write("pyproject.toml", "[project]\nversion = \"3.4.0\"\n");
    world.release("9.9.9");
    world.run("deploy", &["dev"]).ok();
    world.run("deploy", &["prod", "--revision", &first]).ok();
    assert_eq!(commit_of(&world, "v3.3.0"), second);
    assert_eq!(tags(&world, "v*"), ["v3.2.1", "v3.3.0"]);
}

#[test]
fn a_version_tag_that_exists_is_never_moved() {
    let world = World::new();
    let old = world.git(&["rev-parse", "HEAD"]);
    world.git(&["tag", "v2.0.0", &old]);
    let ran = ship(&world, "2.0.0");
    let told = warnings(&ran);
    assert!(told.contains("v2.0.0 stands on") && told.contains(&old[..7]), "{told}");
    assert_eq!(commit_of(&world, "v2.0.0"), old);
    assert!(!remote_tags(&world).contains("v2.0.0"));
    let own = world.release("2.0.1");
    world.git(&["tag", "v2.0.1", &own]);
    world.run("deploy", &["dev"]).ok();
    let report = world.run("deploy", &["prod", "--promote"]).ok().report();
    assert!(report.details["deploy"]["warnings"].is_null());
    assert_eq!(world.git(&["cat-file", "-t", "refs/tags/v2.0.1"]), "commit");
    assert!(remote_tags(&world).contains("v2.0.1"));
    // Somebody else published this version meanwhile: theirs stays.
    world.git(&["config", "remote.origin.tagOpt", "--no-tags"]);
    let origin = world.path().join("origin.git").display().to_string();
    world.git(&["push", "--quiet", &origin, &format!("{old}:refs/tags/v2.0.2")]);
    let ran = ship(&world, "2.0.2");
    assert!(warnings(&ran).contains("did not take"), "{}", warnings(&ran));
    assert!(world.git(&["ls-remote", "origin", "refs/tags/v2.0.2"]).starts_with(&old));
    let deployment = ran.report().deployment.unwrap();
    assert!(remote_tags(&world).contains(&format!("deploy/prod/{deployment}")), "one refusal kept the other");
    assert_eq!(outstanding(&world), ["push"]);
}

/// An ssh key that git signs with; the world trusts it.
fn sign_with_ssh(world: &World, passphrase: &str) -> PathBuf {
    let key = world.path().join("key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-C", "tester", "-N", passphrase, "-f"])
        .arg(&key)
        .status();
    assert!(made.unwrap().success());
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let allowed = world.path().join("allowed");
    std::fs::write(&allowed, format!("tester@example.invalid {public}")).unwrap();
    for (name, value) in [
        ("tag.gpgSign", "true"),
        ("gpg.format", "ssh"),
        ("user.signingkey", key.to_str().unwrap()),
        ("gpg.ssh.allowedSignersFile", allowed.to_str().unwrap()),
    ] {
        world.git(&["config", name, value]);
    }
    key
}

#[test]
fn tags_are_signed_where_git_signs_tags() {
    let world = World::new();
    sign_with_ssh(&world, "");
    let report = ship(&world, "1.0.0").report();
    assert!(report.details["deploy"]["warnings"].is_null(), "{}", report.details["deploy"]);
    for tag in ["v1.0.0".to_owned(), format!("deploy/prod/{}", report.deployment.unwrap())] {
        world.git(&["tag", "-v", &tag]);
    }
}

/// An unsigned tag in its place would say what is not so.
#[test]
fn a_tag_that_cannot_be_signed_is_made_by_the_next_command_and_undoes_nothing() {
    let world = World::new();
    let key = sign_with_ssh(&world, "open sesame");
    let ran = ship(&world, "1.0.0");
    assert!(warnings(&ran).contains("cannot make the tag v1.0.0"), "{}", warnings(&ran));
    assert_eq!(world.get("prod", "/").1, "1.0.0");
    assert_eq!(tags(&world, "*[v/]*"), Vec::<String>::new());
    assert_eq!(outstanding(&world), ["tag", "version_tag"]);
    let ran = world.run("deploy", &["prod"]);
    assert!(warnings(ran.ok()).contains("cannot make the tag"), "still said: {}", ran.stdout);
    let unlocked =
        Command::new("ssh-keygen").args(["-q", "-p", "-P", "open sesame", "-N", "", "-f"]).arg(&key).output();
    assert!(unlocked.unwrap().status.success());
    let report = world.run("deploy", &["prod"]).ok().report();
    assert!(!report.changed, "this revision served already");
    assert!(outstanding(&world).is_empty());
    world.git(&["tag", "-v", "v1.0.0"]);
}

#[test]
fn what_a_remote_refused_is_shown_until_a_later_command_has_pushed_it() {
    let world = World::new();
    world.release("1.0.0");
    world.git(&["config", "remote.origin.pushurl", "../nowhere"]);
    world.run("deploy", &["dev"]).ok();
    let first = world.run("deploy", &["prod", "--promote"]);
    assert!(warnings(first.ok()).contains("did not take"), "{}", warnings(&first));
    assert_eq!(outstanding(&world), ["push"]);
    let shown = &world.status("prod")["chores"][0];
    assert_eq!(shown["deployment"], first.report().deployment.unwrap());
    assert!(shown["problem"].as_str().unwrap().contains("refs/heads/main"), "{shown}");
    world.write("VERSION", "1.1.0");
    world.commit("1.1.0");
    world.git(&["push", "--quiet", "../origin.git", "dev"]);
    world.run("deploy", &["dev"]).ok();
    let second = world.run("deploy", &["prod", "--promote"]);
    second.ok();
    assert_eq!(outstanding(&world), ["push", "push"]);
    world.git(&["config", "--unset", "remote.origin.pushurl"]);
    world.run("rollback", &["prod"]).ok();
    assert!(outstanding(&world).is_empty(), "{:?}", world.status("prod")["chores"]);
    let ids = [&first, &second].map(|ran| format!("deploy/prod/{}", ran.report().deployment.unwrap()));
    assert!(remote_tags(&world).is_superset(&ids.into()));
    assert!(remote_tags(&world).is_superset(&["v1.0.0".to_owned(), "v1.1.0".to_owned()].into()));
    let main = world.git(&["ls-remote", "origin", "refs/heads/main"]);
    assert!(main.starts_with(&second.report().release.unwrap().revision), "{main}");
}

#[test]
fn a_later_deployment_pushes_what_an_earlier_one_could_not() {
    let world = World::new();
    let hook = world.path().join("origin.git/hooks/update");
    // Only tags are refused: the branches of this test's own work must come in.
    let refuse = "#!/bin/sh\ncase $1 in refs/tags/*) echo closed for today >&2; exit 1;; esac\n";
    std::fs::write(&hook, refuse).unwrap();
    assert!(Command::new("chmod").arg("755").arg(&hook).status().unwrap().success());
    let first = ship(&world, "1.0.0");
    assert!(warnings(&first).contains("closed for today"), "{}", warnings(&first));
    std::fs::remove_file(&hook).unwrap();
    let second = ship(&world, "1.1.0");
    assert!(second.report().details["deploy"]["warnings"].is_null(), "{}", second.stdout);
    assert!(outstanding(&world).is_empty());
    for ran in [&first, &second] {
        assert!(remote_tags(&world).contains(&format!("deploy/prod/{}", ran.report().deployment.unwrap())));
    }
}

#[test]
fn a_deploy_killed_before_its_chores_is_tagged_by_the_next_command() {
    let world = World::new();
    world.release("1.0.0");
    world.run("deploy", &["dev"]).ok();
    let mut deploy = world.command("deploy", &["prod", "--promote"]);
    let killed = Ran::of(deploy.env("DEPLOY_FAULT", "deploy:tidy#1").output().unwrap());
    assert_ne!(killed.status, 0);
    assert!(tags(&world, "v*").is_empty());
    world.run("rollback", &["prod"]).refused("no-target");
    assert_eq!(tags(&world, "v*"), ["v1.0.0"]);
    assert!(remote_tags(&world).contains("v1.0.0"));
}

#[test]
fn unknown_and_malicious_versions_are_harmless() {
    let world = World::new();
    ship(&world, "1.0.0");
    ship(&world, "1.1.0");
    world.git(&["tag", "$(touch${IFS}pwned).1", "v1.0.0"]);
    let before = world.footprint("prod");
    let report = world.run("rollback", &["prod", "--to-version", "1.2.0"]).refused("unknown-revision");
    let problem = report.problem.unwrap();
    assert_eq!(problem.hint.as_deref(), Some("rollback prod --to-version v1.1.0"));
    assert_eq!(problem.detail.as_deref(), Some("verified in 'prod': v1.1.0, v1.0.0"));
    for name in [
        "v1.1.0~1",
        "v1.1.0^",
        "v1.0.0^{}",
        "../heads/main",
        "refs/tags/v1.0.0",
        "HEAD",
        "v1.*",
        "--force",
        "-d",
        "",
        "\n",
        "$(touch pwned)",
        "'; touch pwned; '",
        "v1.0.0..v1.1.0",
        "@{-1}",
        ":/1.0.0",
    ] {
        let ran = world.run("rollback", &["prod", &format!("--to-version={name}")]);
        ran.refused("unknown-revision");
    }
    assert_eq!(world.footprint("prod"), before);
    world.run("rollback", &["prod", "--to-version", "$(touch${IFS}pwned).1"]).ok();
    assert_eq!(world.get("prod", "/").1, "1.0.0");
    assert!(!world.checkout().join("pwned").exists());
}
