//! `deploy hooks install`, `remove` and `status`: the files, and whose they are.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::desk::Desk;
use tests::ran::Ran;
use tests::world::World;

const SERVER: [&str; 2] = ["pre-receive", "post-receive"];

fn bare(world: &World) -> PathBuf {
    world.path().join("origin.git")
}

fn hook(world: &World, name: &str) -> PathBuf {
    bare(world).join("hooks").join(name)
}

fn hooks(world: &World, verb: &str) -> Ran {
    world.run("deploy", &["hooks", verb, "--repository", "../origin.git"])
}

fn write_hook(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o750)).unwrap();
}

/// Everything in a directory: name, kind, mode, inode, content.
fn listing(dir: &Path) -> Vec<(String, u32, u64, String)> {
    let mut entries: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .flatten()
        .map(|entry| {
            let facts = entry.path().symlink_metadata().unwrap();
            let text = fs::read(entry.path()).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            (entry.file_name().to_string_lossy().into_owned(), facts.mode(), facts.ino(), text)
        })
        .collect();
    entries.sort();
    entries
}

#[test]
fn installing_twice_changes_nothing_and_removing_restores_exactly_what_was_there() {
    let world = World::new();
    let dir = bare(&world).join("hooks");
    write_hook(&hook(&world, "pre-receive"), "#!/bin/sh\nexit 0\n");
    fs::write(dir.join("elsewhere"), "#!/bin/sh\nexit 0\n").unwrap();
    symlink("elsewhere", dir.join("post-receive")).unwrap();
    let before = listing(&dir);
    let missing = hooks(&world, "status");
    missing.refused("hooks-missing");
    assert_eq!(listing(&dir), before);

    assert!(hooks(&world, "install").ok().report().changed);
    let installed = listing(&dir);
    assert!(!hooks(&world, "install").ok().report().changed);
    assert_eq!(listing(&dir), installed);
    let told = hooks(&world, "status").ok().report();
    let facts = told.details["deploy"]["hooks"].as_array().unwrap();
    assert!(facts.iter().all(|fact| fact["installed"] == true && fact["kept"] == true), "{facts:?}");

    assert!(hooks(&world, "remove").ok().report().changed);
    assert_eq!(listing(&dir), before);
    assert!(!hooks(&world, "remove").ok().report().changed);
    assert_eq!(listing(&dir), before);
}

#[test]
fn a_hook_that_was_there_runs_first_and_its_refusal_counts() {
    let world = World::new();
    for name in SERVER {
        let text = format!(
            "#!/bin/sh\nprintf '{name} %s\\n' \"$#\" \"$GIT_DIR\" >>'{0}'\ncat >>'{0}'\necho from-{name}\n",
            world.path().join("seen").display()
        );
        write_hook(&hook(&world, name), &text);
    }
    hooks(&world, "install").ok();
    let desk = Desk::clone(&world, &bare(&world), "desk");
    let revision = desk.commit("v1");
    let pushed = desk.push(&["dev"]);
    pushed.ok();
    assert!(pushed.stderr.contains("remote: from-pre-receive"), "{}", pushed.stderr);
    assert!(pushed.stderr.contains("remote: from-post-receive"), "{}", pushed.stderr);
    let seen = fs::read_to_string(world.path().join("seen")).unwrap();
    assert_eq!(seen.matches(&format!("{revision} refs/heads/dev\n")).count(), 2, "{seen}");
    assert!(seen.contains("pre-receive 0\npre-receive .\n"), "as git runs it: {seen}");
    assert_eq!(world.get("dev", "/").1, "v1");

    write_hook(&hook(&world, "pre-receive.kept-by-deploy"), "#!/bin/sh\necho not today\nexit 7\n");
    write_hook(&hook(&world, "post-receive.kept-by-deploy"), "#!/bin/sh\nexit 8\n");
    desk.commit("v2");
    let refused = desk.push(&["dev"]);
    assert_eq!(refused.status, 1);
    assert!(refused.stderr.contains("remote: not today"), "{}", refused.stderr);
    assert!(refused.stderr.contains("exit status: 7"), "{}", refused.stderr);

    // git runs no hook that is not executable.
    let kept = hook(&world, "pre-receive.kept-by-deploy");
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o644)).unwrap();
    let pushed = desk.push(&["dev"]);
    pushed.ok();
    assert!(pushed.stderr.contains("warning: the former hook"), "{}", pushed.stderr);
    assert_eq!(world.get("dev", "/").1, "v2");
}

#[test]
fn a_hook_that_somebody_changed_is_never_overwritten() {
    let world = World::new();
    hooks(&world, "install").ok();
    let path = hook(&world, "post-receive");
    let ours = fs::read_to_string(&path).unwrap();
    write_hook(&hook(&world, "pre-receive.kept-by-deploy"), "#!/bin/sh\nexit 0\n");
    let replaced = "#!/bin/sh\necho replaced\n";
    for (name, text) in [("post-receive", format!("{ours}echo more\n")), ("pre-receive", replaced.to_owned())]
    {
        let intact = fs::read(hook(&world, name)).unwrap();
        write_hook(&hook(&world, name), &text);
        let before = listing(&bare(&world).join("hooks"));
        for verb in ["install", "remove", "status"] {
            let report = hooks(&world, verb).refused("hook-changed");
            assert!(!report.changed, "{verb}");
        }
        assert_eq!(listing(&bare(&world).join("hooks")), before);
        fs::write(hook(&world, name), intact).unwrap();
    }
    hooks(&world, "remove").ok();
}

#[test]
fn hooks_go_where_git_looks_for_them_and_nowhere_else() {
    let world = World::new();
    let set = |args: &[&str]| world.git(&[&["config"], args].concat());
    set(&["core.hooksPath", ".git/own hooks"]);
    world.run("deploy", &["hooks", "install"]).ok();
    assert!(world.checkout().join(".git/own hooks/pre-push").is_file());
    world.run("deploy", &["hooks", "remove"]).ok();

    set(&["core.hooksPath", "hooks"]);
    world.run("deploy", &["hooks", "install"]).refused("hooks-shared");
    assert!(!world.checkout().join("hooks/pre-push").exists());
    set(&["--unset", "core.hooksPath"]);

    let global = world.path().join("gitconfig");
    fs::write(&global, format!("[core]\nhooksPath = {}\n", world.path().join("shared hooks").display()))
        .unwrap();
    let mut install = world.command("deploy", &["hooks", "install"]);
    let refused = Ran::of(install.env("GIT_CONFIG_GLOBAL", &global).output().unwrap());
    refused.refused("hooks-shared");
    assert!(!world.path().join("shared hooks").exists());
}

#[test]
fn an_install_that_is_killed_leaves_the_old_hook_or_the_new_one() {
    let world = World::new();
    let foreign = "#!/bin/sh\nexit 0\n";
    for name in SERVER {
        write_hook(&hook(&world, name), foreign);
    }
    let before = listing(&bare(&world).join("hooks"));
    let trace = world.path().join("points");
    let mut install = world.command("deploy", &["hooks", "install", "--repository", "../origin.git"]);
    Ran::of(install.env("DEPLOY_FAULT_TRACE", &trace).output().unwrap()).ok();
    let ours: Vec<String> =
        SERVER.iter().map(|name| fs::read_to_string(hook(&world, name)).unwrap()).collect();
    let points = fs::read_to_string(&trace).unwrap();
    assert!(points.lines().count() >= 8, "{points}");
    for verb in ["install", "remove"] {
        for point in points.lines() {
            hooks(&world, "remove").ok();
            assert_eq!(listing(&bare(&world).join("hooks")), before);
            let mut install = world.command("deploy", &["hooks", "install", "--repository", "../origin.git"]);
            let killed = install.env("DEPLOY_FAULT", point).output().unwrap();
            assert_eq!(killed.status.code(), None, "{point} was not passed");
            for (name, ours) in SERVER.iter().zip(&ours) {
                let text = fs::read_to_string(hook(&world, name)).unwrap();
                assert!(text == foreign || text == *ours, "{point}: {text}");
            }
            hooks(&world, verb).ok();
            hooks(&world, "install").ok();
        }
    }
}

#[test]
fn many_installs_at_once_keep_the_former_hook() {
    let world = World::new();
    write_hook(&hook(&world, "pre-receive"), "#!/bin/sh\nexit 0\n");
    let before = listing(&bare(&world).join("hooks"));
    let start = || {
        let mut install =
            world.command("deploy", &["hooks", "install", "--repository", "../origin.git", "-q"]);
        install.stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let running: Vec<_> = (0..10).map(|_| start()).collect();
    for mut install in running {
        assert!(install.wait().unwrap().success());
    }
    hooks(&world, "status").ok();
    hooks(&world, "remove").ok();
    assert_eq!(listing(&bare(&world).join("hooks")), before);
}

#[test]
fn paths_with_spaces_and_quotes_work() {
    let world = World::new();
    let odd = world.path().join("it's $(touch pwned) \"odd\"");
    fs::create_dir(&odd).unwrap();
    let origin = odd.join("or'igin $x.git");
    fs::rename(bare(&world), &origin).unwrap();
    fs::rename(world.checkout(), odd.join("check out")).unwrap();
    let git = |args: &[&str]| {
        let done = Command::new("git").args(args).current_dir(odd.join("check out")).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    git(&["remote", "set-url", "origin", origin.to_str().unwrap()]);
    let file = odd.join("check out/deploy.toml");
    let text = fs::read_to_string(&file).unwrap();
    let state = text.replace("../state", world.state().to_str().unwrap());
    fs::write(&file, state.replace("../logs", "../../logs")).unwrap();
    let mut install = world.command("deploy", &["hooks", "install", "--repository"]);
    Ran::of(install.arg(&origin).current_dir(odd.join("check out")).output().unwrap()).ok();
    let desk = Desk::clone(&world, &origin, "desk");
    desk.commit("v1");
    desk.push(&["dev"]).ok();
    assert_eq!(world.get("dev", "/").1, "v1");
    assert!(!origin.join("pwned").exists());
}

#[test]
fn an_installation_that_could_not_work_is_refused() {
    let world = World::new();
    let empty = tempfile::tempdir().unwrap();
    let elsewhere =
        |args: &[&str], dir: &Path| Ran::of(world.command("deploy", args).current_dir(dir).output().unwrap());
    elsewhere(&["hooks", "install"], empty.path()).ended_with(2, "configuration");
    elsewhere(&["hooks", "remove"], empty.path()).refused("not-a-repository");
    let nowhere = elsewhere(&["hooks", "install", "--config", "nowhere.toml"], &bare(&world));
    assert_eq!(nowhere.status, 2, "{}", nowhere.stdout);
    world.run("deploy", &["hooks", "install", "--repository", "../nowhere"]).refused("not-a-repository");
    world.run("deploy", &["dev", "hooks", "install"]).ended_with(2, "usage");
    world.run("deploy", &["hooks", "run", "pre-receive"]).ended_with(2, "usage");
    world.git(&["init", "--quiet", "--bare", "../other.git"]);
    let other = world.run("deploy", &["hooks", "install", "--repository", "../other.git"]);
    let problem = other.ended_with(2, "configuration").problem.unwrap();
    assert!(problem.title.contains("another repository"), "{problem}");
    assert!(!hook(&world, "pre-receive").exists());
}
