//! Real pushes to real bare repositories with our hooks: what is refused, what deploys, what the
//! pusher reads.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tests::desk::Desk;
use tests::ran::Ran;
use tests::world::World;

fn bare(world: &World) -> PathBuf {
    world.path().join("origin.git")
}

/// Where a branch of the bare repository stands.
fn head(world: &World, branch: &str) -> String {
    let dir = format!("--git-dir={}", bare(world).display());
    world.git(&[&dir, "rev-parse", "--verify", &format!("refs/heads/{branch}")])
}

fn refs(world: &World) -> String {
    world.git(&[&format!("--git-dir={}", bare(world).display()), "for-each-ref"])
}

/// How many deployments an environment has seen.
fn deployments(world: &World, environment: &str) -> usize {
    let history = world.run("status", &[environment, "history"]).report();
    history.details["status"][environment].as_array().map_or(0, Vec::len)
}

/// deploy.toml in the operator's checkout, whose remote the pushers share.
fn with_checkout(world: &World) -> Desk {
    world.run("deploy", &["hooks", "install", "--repository", "../origin.git"]).ok();
    Desk::clone(world, &bare(world), "desk")
}

/// deploy.toml in the bare repository itself.
fn within_bare(world: &World) -> Desk {
    fs::copy(world.checkout().join("deploy.toml"), bare(world).join("deploy.toml")).unwrap();
    let mut install = world.command("deploy", &["hooks", "install"]);
    Ran::of(install.current_dir(bare(world)).output().unwrap()).ok();
    Desk::clone(world, &bare(world), "desk")
}

#[track_caller]
fn says(ran: &Ran, words: &[&str]) {
    for word in words {
        assert!(ran.stderr.contains(word), "{word:?} is missing in:\n{}", ran.stderr);
    }
}

fn wait_until(mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never came");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn go_the_whole_road(world: &World, desk: &Desk) {
    let first = desk.commit("v1");
    let before = refs(world);
    let early = desk.push(&["HEAD:main"]);
    assert_eq!(early.status, 1, "{}", early.stderr);
    says(
        &early,
        &["remote: error: nothing was ever verified here", "remote: hint: git push origin HEAD:dev"],
    );
    assert_eq!(refs(world), before);

    let pushed = desk.push(&["dev"]);
    pushed.ok();
    says(
        &pushed,
        &["remote: deploy   ok", "gate.branch", "cutover", &format!("dev: {} serves", &first[..7])],
    );
    assert!(!pushed.stderr.contains("{\"version\""), "a report is nothing for a pusher: {}", pushed.stderr);
    assert_eq!(world.get("dev", "/"), (200, "v1".into()));
    assert_eq!(world.status("dev")["state"], "verified");

    let second = desk.commit("v2");
    let unverified = desk.push(&["HEAD:main"]);
    assert_eq!(unverified.status, 1, "{}", unverified.stderr);
    says(&unverified, &["was never verified in 'dev'", "remote: hint: git push origin HEAD:dev"]);

    desk.push(&["dev"]).ok();
    let promoted = desk.push(&["HEAD:main"]);
    promoted.ok();
    says(&promoted, &["gate.evidence", &format!("prod: {} serves", &second[..7])]);
    assert_eq!(world.get("prod", "/"), (200, "v2".into()));
    let tags =
        world.git(&[&format!("--git-dir={}", bare(world).display()), "tag", "--list", "deploy/prod/*"]);
    assert_eq!(tags.lines().count(), 1, "{tags}");
}

#[test]
fn a_push_to_dev_deploys_dev_and_one_to_main_deploys_prod_after_the_gate() {
    let world = World::new();
    let desk = with_checkout(&world);
    let before = (world.git(&["rev-parse", "HEAD"]), fs::read(world.checkout().join("VERSION")).ok());
    go_the_whole_road(&world, &desk);
    let after = (world.git(&["rev-parse", "HEAD"]), fs::read(world.checkout().join("VERSION")).ok());
    assert_eq!(after, before, "the operator's work tree is nobody else's business");
    assert_eq!(world.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_bare_repository_with_its_own_configuration_deploys_too() {
    let world = World::new();
    let desk = within_bare(&world);
    go_the_whole_road(&world, &desk);
}

#[test]
fn a_checkout_with_work_in_progress_does_not_stop_a_push() {
    let world = World::new();
    let desk = with_checkout(&world);
    world.write("VERSION", "unfinished");
    world.git(&["switch", "--quiet", "-c", "experiment"]);
    desk.commit("v1");
    desk.push(&["dev"]).ok();
    assert_eq!(world.get("dev", "/").1, "v1");
    assert_eq!(fs::read_to_string(world.checkout().join("VERSION")).unwrap(), "unfinished");
}

#[test]
fn branches_that_deploy_are_never_rewritten_or_deleted_and_others_are_free() {
    let world = World::new();
    let desk = with_checkout(&world);
    desk.commit("v1");
    desk.push(&["dev"]).ok();
    let before = refs(&world);
    let serving = world.footprint("dev");
    says(&desk.push(&[":dev"]), &["'dev' deploys and cannot be deleted", "remote: hint:"]);
    desk.git(&["commit", "--quiet", "--amend", "--message", "rewritten"]).ok();
    says(&desk.push(&["+dev"]), &["a branch that deploys is never rewritten", "git pull --rebase"]);
    let both = desk.push(&["+dev", "HEAD:refs/heads/feature/good", "HEAD:refs/tags/v9"]);
    assert_eq!(both.status, 1, "a push is refused as a whole: {}", both.stderr);
    assert_eq!(refs(&world), before);
    assert_eq!(world.footprint("dev"), serving);

    desk.push(&["HEAD:feature/mine", "HEAD:elsewhere"]).ok();
    desk.git(&["commit", "--quiet", "--amend", "--message", "once more"]).ok();
    desk.push(&["+HEAD:feature/mine", "+HEAD:elsewhere"]).ok();
    desk.push(&[":feature/mine", ":elsewhere"]).ok();
    assert_eq!(refs(&world), before);
    assert_eq!(world.footprint("dev"), serving, "a pattern deploys nothing by itself");
}

#[test]
fn a_pushed_replacement_shows_the_hooks_no_other_history() {
    let world = World::new();
    let desk = with_checkout(&world);
    desk.commit("v1");
    desk.push(&["dev"]).ok();
    let tree = desk.git(&["rev-parse", "HEAD^{tree}"]).stdout;
    let made = desk.git(&["commit-tree", tree.trim(), "-p", "HEAD", "-m", "as if nothing was lost"]).stdout;
    desk.git(&["commit", "--quiet", "--amend", "--message", "rewritten"]).ok();
    let rewritten = desk.git(&["rev-parse", "HEAD"]).stdout;
    let before = head(&world, "dev");
    desk.push(&[&format!("{}:refs/replace/{}", made.trim(), rewritten.trim())]).ok();
    says(&desk.push(&["+dev"]), &["a branch that deploys is never rewritten"]);
    assert_eq!(head(&world, "dev"), before);
}

#[test]
fn a_failed_deployment_is_told_with_what_serves_and_where_the_branch_is() {
    let world = World::new();
    let desk = with_checkout(&world);
    let good = desk.commit("v1");
    desk.push(&["dev"]).ok();
    let bad = desk.commit_file("behaviour.json", "{\"exit_at_start\": 3}");
    let pushed = desk.push(&["dev"]);
    pushed.ok();
    let (good, bad) = (&good[..7], &bad[..7]);
    says(
        &pushed,
        &[
            &format!("NOT DEPLOYED to 'dev': {good} serves, although 'dev' has moved to {bad}"),
            "exit status 3",
            "remote: hint: git push origin dev   # with a mended commit",
        ],
    );
    assert!(head(&world, "dev").starts_with(bad));
    assert_eq!(world.get("dev", "/").1, "v1");
    fs::remove_file(desk.dir().join("behaviour.json")).unwrap();
    desk.commit("v2");
    desk.push(&["dev"]).ok();
    assert_eq!(world.get("dev", "/").1, "v2");
}

#[test]
fn a_promotion_on_the_server_passes_its_own_hooks_and_deploys_once() {
    let world = World::new();
    let desk = with_checkout(&world);
    let revision = desk.commit("v1");
    desk.push(&["dev"]).ok();
    world.git(&["pull", "--quiet", "--ff-only"]);
    let report = world.run("deploy", &["prod", "--promote"]).ok().report();
    assert!(report.details["deploy"].get("warnings").is_none(), "{:?}", report.details);
    assert_eq!(head(&world, "main"), revision);
    assert_eq!(deployments(&world, "prod"), 1);
    desk.push(&["HEAD:main"]).ok();
}

#[test]
fn what_cannot_be_judged_is_refused() {
    let world = World::new();
    let desk = with_checkout(&world);
    desk.commit("v1");
    let before = refs(&world);
    let file = world.checkout().join("deploy.toml");
    let good = fs::read_to_string(&file).unwrap();
    for (text, words) in [("[app", "deploy.toml:1"), ("[app]\nnmae = \"x\"\n", "did you mean 'name'")] {
        fs::write(&file, text).unwrap();
        let refused = desk.push(&["dev"]);
        assert_eq!(refused.status, 1, "{}", refused.stderr);
        says(&refused, &[words, "remote: hint:"]);
    }
    fs::remove_file(&file).unwrap();
    says(&desk.push(&["dev"]), &["is gone", "remote: hint: deploy hooks install"]);
    fs::write(&file, &good).unwrap();
    fs::create_dir_all(world.state()).unwrap();
    fs::create_dir(world.state().join("ledger.db")).unwrap();
    let refused = desk.push(&["dev"]);
    assert_eq!(refused.status, 1, "{}", refused.stderr);
    says(&refused, &["the ledger cannot be read"]);
    assert_eq!(refs(&world), before);
}

#[test]
fn a_pushed_configuration_changes_nothing_on_the_server() {
    let world = World::new();
    let desk = with_checkout(&world);
    let marker = world.path().join("pwned");
    let text = fs::read_to_string(desk.dir().join("deploy.toml")).unwrap();
    let evil = text.replace("[app]\n", &format!("[app]\nbuild = \"touch '{}'\"\n", marker.display()));
    desk.commit_file("deploy.toml", &evil.replace("promote_from = \"dev\"\n", ""));
    assert_eq!(desk.push(&["HEAD:main"]).status, 1);
    desk.push(&["dev"]).ok();
    assert_eq!(world.status("dev")["state"], "verified");
    assert!(!marker.exists());
}

#[test]
fn names_of_branches_are_never_read_by_a_shell() {
    let names = [
        "$(touch${IFS}pwned)",
        "`touch${IFS}pwned`",
        ";touch${IFS}pwned;",
        "-x",
        "--upload-pack=touch",
        "a'b\"c",
        "ünï/ço∂é",
        "a|b&c>d",
        "%s%n$HOME",
    ];
    let world = World::new();
    let list: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    world.configure("\"feature/*\"", &format!("\"feature/*\", {}", list.join(", ")));
    let desk = with_checkout(&world);
    for (number, name) in names.iter().enumerate() {
        desk.commit(&format!("v{number}"));
        let pushed = desk.push(&[&format!("HEAD:refs/heads/feature/{name}")]);
        pushed.ok();
        let pushed = desk.push(&[&format!("HEAD:refs/heads/{name}")]);
        pushed.ok();
        if name.starts_with('-') {
            // No command of git could name it.
            says(&pushed, &["NOT DEPLOYED to 'dev'"]);
        } else {
            says(&pushed, &["dev: ", " serves"]);
            assert_eq!(world.get("dev", "/").1, format!("v{number}"), "{name}");
        }
        says(&desk.push(&[&format!(":refs/heads/{name}")]), &["cannot be deleted"]);
    }
    let touched = files_named_pwned(&world);
    assert!(touched.is_empty(), "{touched:?}");
}

/// Files that a branch name would have made if a shell had read it.
fn files_named_pwned(world: &World) -> Vec<PathBuf> {
    let all = walkdir::WalkDir::new(world.path()).into_iter().flatten().map(walkdir::DirEntry::into_path);
    all.filter(|path| path.ends_with("pwned")).collect()
}

/// Builds wait until the test lets them go.
fn gated() -> World {
    let world = World::new();
    world.configure("[app]\n", "[app]\nbuild = \"while [ ! -e ../../../go ]; do sleep 0.02; done\"\n");
    world
}

fn is_locked(world: &World) -> bool {
    world.run("status", &["dev"]).stdout.contains("\"what\":\"deploy dev\"")
}

/// Whether a revision has been chosen and its build waits.
fn is_building(world: &World) -> bool {
    fs::read_dir(world.state().join("dev/releases")).is_ok_and(|mut entries| entries.next().is_some())
}

fn start_push(desk: &Desk, log: &str) -> Child {
    let log = fs::File::create(desk.dir().with_extension(log)).unwrap();
    desk.command(&["push", "origin", "dev"]).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

#[test]
fn of_pushes_that_queue_the_newest_wins_and_none_fails() {
    let world = gated();
    let desk = with_checkout(&world);
    desk.commit("v1");
    let mut pushes = vec![start_push(&desk, "1")];
    wait_until(|| is_building(&world));
    for number in 2..=4 {
        let revision = desk.commit(&format!("v{number}"));
        pushes.push(start_push(&desk, &number.to_string()));
        wait_until(|| head(&world, "dev") == revision);
    }
    fs::write(world.state().join("go"), "").unwrap();
    for push in pushes {
        assert!(push.wait_with_output().unwrap().status.success());
    }
    assert_eq!(world.get("dev", "/").1, "v4");
    let told = |number: u32| fs::read_to_string(desk.dir().with_extension(number.to_string())).unwrap();
    for number in 1..=4 {
        assert!(!told(number).contains("NOT DEPLOYED"), "{}", told(number));
        assert!(told(number).contains(" serves"), "{}", told(number));
    }
    assert_eq!(deployments(&world, "dev"), 2, "what was first at the lock, then the newest alone");
}

#[test]
fn pushes_to_two_environments_at_once_do_not_disturb_each_other() {
    let world = World::new();
    let desk = with_checkout(&world);
    let first = desk.commit("v1");
    desk.push(&["dev"]).ok();
    desk.commit("v2");
    let dev = start_push(&desk, "dev");
    let prod = desk.push(&[&format!("{first}:main")]);
    prod.ok();
    says(&prod, &[&format!("prod: {} serves", &first[..7])]);
    assert!(dev.wait_with_output().unwrap().status.success());
    assert_eq!((world.get("dev", "/").1, world.get("prod", "/").1), ("v2".into(), "v1".into()));
}

#[test]
fn a_pusher_that_is_cut_off_does_not_stop_the_deployment() {
    let world = gated();
    let desk = with_checkout(&world);
    let revision = desk.commit("v1");
    let mut push = desk.command(&["push", "origin", "dev"]);
    let mut push = push.stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0).spawn().unwrap();
    wait_until(|| is_building(&world));
    drop(push.stderr.take());
    let group = rustix::process::Pid::from_child(&push);
    for signal in [rustix::process::Signal::HUP, rustix::process::Signal::INT, rustix::process::Signal::KILL]
    {
        rustix::process::kill_process_group(group, signal).unwrap();
    }
    push.wait().unwrap();
    fs::write(world.state().join("go"), "").unwrap();
    wait_until(|| world.status("dev")["state"] == "verified" && !is_locked(&world));
    assert_eq!(world.status("dev")["revision"], revision.as_str());
    assert_eq!(world.get("dev", "/").1, "v1");
}

#[test]
fn pre_push_refuses_here_what_the_server_would_refuse() {
    let world = World::new();
    world.run("deploy", &["hooks", "install"]).ok();
    let push = |args: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.arg("push").args(args).current_dir(world.checkout()).stdin(Stdio::null());
        Ran::of(command.output().unwrap())
    };
    world.write("VERSION", "v1");
    world.commit("v1");
    let unknown = push(&["origin", "dev"]);
    unknown.ok();
    says(&unknown, &["gate.history  dev -> dev"]);
    let elsewhere = push(&["origin", "HEAD:main"]);
    elsewhere.ok();
    says(&elsewhere, &["skipped", "the server knows what was verified"]);

    world.run("deploy", &["dev"]).ok();
    world.write("VERSION", "v2");
    world.commit("v2");
    world.write("VERSION", "unfinished");
    let before = refs(&world);
    let refused = push(&["origin", "HEAD:main"]);
    assert_eq!(refused.status, 1, "{}", refused.stderr);
    says(&refused, &["was never verified in 'dev'", "changes that are not committed", "hint: "]);
    says(&push(&["origin", ":dev"]), &["cannot be deleted"]);
    world.git(&["checkout", "--quiet", "--", "VERSION"]);
    world.git(&["reset", "--quiet", "--hard", "HEAD~2"]);
    world.commit("another history");
    says(&push(&["--force", "origin", "dev"]), &["is never rewritten"]);
    assert_eq!(refs(&world), before);
    push(&["--force", "origin", "HEAD:feature/mine"]).ok();
    world.git(&["init", "--quiet", "--bare", "../fork.git"]);
    push(&["../fork.git", "HEAD:main"]).ok();
}
