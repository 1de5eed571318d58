//! A unit that an operator wrote is taken over: its account and limits stay, the releases are ours.

use tests::campaign::under_load;
use tests::fault::Act;
use tests::host::Host;
use tests::ports;
use tests::world::World;

use super::reboots::await_answer;

/// What the operator had before: the app by hand, under an account and a limit of his.
struct Handmade {
    host: Host,
    world: World,
    address: std::net::SocketAddr,
    _claim: std::fs::File,
}

fn handmade() -> Option<Handmade> {
    let host = Host::boot()?;
    let world = World::on(&host, "systemd");
    let (address, claim) = ports::claim();
    let app = world.checkout();
    host.says(&format!(
        "useradd --system web && mkdir /srv/hand && cp {}/app.py /srv/hand && echo -n hand > /srv/hand/VERSION",
        app.display()
    ));
    let unit = format!(
        "[Service]\nUser=web\nLimitNOFILE=777\nEnvironment=MINE=1 BIND={address} PORT={}\nWorkingDirectory=/srv/hand\n\
         ExecStart=/usr/bin/python3 -S -E app.py\nRestart=on-failure\n[Install]\nWantedBy=multi-user.target\n",
        address.port()
    );
    host.says(&format!(
        "printf '%s' '{unit}' > /etc/systemd/system/app.service && systemctl enable --now app"
    ));
    world.configure(
        "supervisor = \"systemd\"",
        &format!(
            "strategy = \"restart\"\nbind = \"{address}\"\nsupervisor = \"systemd\"\nsystemd = {{ unit = \"app.service\" }}"
        ),
    );
    // Only one environment can have the unit.
    let text = std::fs::read_to_string(app.join("deploy.toml")).unwrap();
    let prod = text.find("[environments.prod]").unwrap();
    world.write("deploy.toml", &text[..prod]);
    world.publish("one environment");
    Some(Handmade { host, world, address, _claim: claim })
}

impl Handmade {
    /// Who answers at the app's own address.
    fn answer(&self) -> String {
        tests::http::request(self.address, "GET", "/")
            .map_or_else(|error| error.to_string(), |(_, text)| text)
    }

    fn await_hand(&self) {
        self.host.says("for i in $(seq 200); do systemctl is-active -q app && break; sleep 0.05; done");
        let begun = std::time::Instant::now();
        while self.answer() != "hand" {
            assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{}", self.answer());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    fn drop_ins(&self) -> String {
        self.host.says("ls /etc/systemd/system/app.service.d 2>/dev/null || true")
    }

    fn main_pid(&self) -> String {
        super::main_pid(&self.host, "app.service")
    }
}

#[test]
fn a_unit_of_the_operator_runs_release_after_release_and_keeps_what_it_says() {
    let Some(mut hand) = handmade() else { return };
    hand.await_hand();
    let doctor = hand.world.run("deploy", &["dev", "doctor"]).report();
    assert!(doctor.steps.iter().any(|step| step.name == "dev.reboot" && step.problem.is_none()));
    hand.world.release("v1");
    hand.world.run("deploy", &["dev"]).ok();
    assert_eq!((hand.world.get("dev", "/").1, hand.answer()), ("v1".into(), "v1".into()));
    let pid = hand.main_pid();
    assert_eq!(hand.host.says(&format!("ps -o user= -p {pid}")), "web");
    assert!(hand.host.says(&format!("grep 'open files' /proc/{pid}/limits")).contains("777"));
    assert_eq!(hand.world.get("dev", "/env/MINE").1, "set");
    assert_eq!(
        tests::http::request(hand.world.listen("dev"), "POST", "/write?n=1").unwrap(),
        (200, "1".into())
    );
    hand.world.release("v2");
    under_load(&hand.world, || hand.world.run("deploy", &["dev"]).ok().report());
    assert_eq!(hand.answer(), "v2");
    let status = hand.world.status("dev");
    assert_eq!((&status["identity"], &status["instance"]["condition"]), (&"new".into(), &"running".into()));
    assert_eq!(status["instance"]["pid"].to_string(), hand.main_pid());

    hand.world.faulty("{\"exit_at_start\": 3}");
    let ran = under_load(&hand.world, || hand.world.run("deploy", &["dev"]));
    let problem = ran.report().problem.unwrap();
    assert!(problem.detail.unwrap().contains("exiting at start"), "{}", ran.stdout);
    assert_eq!(hand.answer(), "v2");
    under_load(&hand.world, || hand.world.run("rollback", &["dev", "--last"]).ok().report());
    assert_eq!(hand.answer(), "v1");
    hand.host.reboot();
    hand.world.reenter(&hand.host);
    await_answer(&hand.world, "v1");
    hand.world.run("verify", &["dev"]).ok();
}

/// Both slots are the one unit, and have one journal.
#[test]
fn a_new_error_in_the_journal_of_the_unit_is_found() {
    let Some(hand) = handmade() else { return };
    hand.await_hand();
    hand.world.release("v1");
    hand.world.run("deploy", &["dev"]).ok();
    hand.world.write("verify.toml", "[routes]\n\"/complain\" = \"200\"\n[errors]\nnew = 0\n");
    hand.world.release("v2");
    hand.world.run("deploy", &["dev"]).refused("errors-new");
    assert_eq!(hand.answer(), "v1");
}

#[test]
fn a_first_release_that_fails_gives_the_unit_back_as_it_was() {
    let Some(hand) = handmade() else { return };
    hand.await_hand();
    hand.world.faulty("{\"exit_at_start\": 3}");
    hand.world.run("deploy", &["dev"]).refused("instance-exited");
    hand.await_hand();
    assert_eq!(hand.drop_ins(), "");
    let given_back = "deploy:adopted.given-back#1";
    let (_, passed) = Act::new("deploy", &["dev"]).run(&hand.world, Some(&format!("{given_back}=abort")));
    assert!(passed.iter().any(|passed| passed == given_back), "{passed:?}");
    hand.world.run("backup", &["dev", "create"]);
    hand.await_hand();
    hand.world.mend("v1");
    for point in
        ["deploy:adopted.before-drop-in#1", "deploy:adopted.after-drop-in#1", "deploy:instance.start#1"]
    {
        let (_, passed) = Act::new("deploy", &["dev"]).run(&hand.world, Some(&format!("{point}=abort")));
        assert!(passed.iter().any(|passed| passed == point), "{point} is not in {passed:?}");
        // A backup of an environment that never served has nothing to do but recover.
        hand.world.run("backup", &["dev", "create"]);
        hand.await_hand();
        assert_eq!(hand.drop_ins(), "", "{point}");
    }
    hand.world.run("deploy", &["dev"]).ok();
    assert_eq!(hand.answer(), "v1");
}

#[test]
fn units_that_cannot_be_taken_over_are_refused_and_edits_of_the_drop_in_too() {
    let Some(hand) = handmade() else { return };
    hand.world.release("v1");
    hand.host.says(
        "sed -i 's/^User=/Type=oneshot\\nUser=/' /etc/systemd/system/app.service && systemctl daemon-reload",
    );
    hand.world.run("deploy", &["dev"]).refused("unit-unsuited");
    hand.host.says("sed -i '/^Type=/d' /etc/systemd/system/app.service && systemctl daemon-reload");
    hand.await_hand();
    hand.world.run("deploy", &["dev"]).ok();
    hand.host.says("echo '# mine' >> /etc/systemd/system/app.service.d/80-agent-deploy.conf");
    hand.world.release("v2");
    let report = hand.world.run("deploy", &["dev"]).refused("unit-edited");
    assert_eq!(hand.answer(), "v1");
    hand.host.says(&report.problem.unwrap().hint.unwrap());
    hand.host.says("rm /etc/systemd/system/app.service.d/*.edited && systemctl disable app");
    hand.world.run("deploy", &["dev"]).ok();
    let doctor = hand.world.run("deploy", &["dev", "doctor"]).report();
    let reboot = doctor.steps.iter().find(|step| step.name == "dev.reboot").unwrap();
    let hint = reboot.problem.as_ref().unwrap().hint.clone().unwrap();
    hand.host.says(&hint);
    assert_eq!(hand.host.says("systemctl is-enabled app"), "enabled");
    // Another supervisor takes over: the unit stops, and is the operator's again.
    hand.world.configure("strategy = \"restart\"", "");
    hand.world.configure("systemd = { unit = \"app.service\" }", "");
    hand.world.configure(&format!("bind = \"{}\"", hand.address), "");
    hand.world.release("v3");
    hand.world.run("deploy", &["dev"]).ok();
    hand.world.release("v4");
    hand.world.run("deploy", &["dev"]).ok();
    assert_eq!(hand.world.get("dev", "/").1, "v4");
    assert_eq!(
        (hand.drop_ins().as_str(), hand.host.sh("systemctl is-active app").stdout.trim()),
        ("", "inactive")
    );
}
