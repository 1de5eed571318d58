//! Live progress: every step once, in order, also for a client that lost its connection.

use tests::http::exchange;
use tests::stream::{Event, Stream};

use super::Served;

fn is_over(event: &Event) -> bool {
    event.kind == "deployment" && event.data["deployment"]["outcome"].is_string()
}

fn steps(events: &[Event]) -> Vec<String> {
    let steps = events.iter().filter(|event| event.kind == "step");
    steps.map(|event| event.data["step"]["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_step_is_told_as_it_ends_and_a_lost_client_gets_exactly_the_rest() {
    let served = Served::serving("");
    let mut stream = Stream::open(served.own, "/_deploy/events", &[]);
    served.world.release("v2");
    let deploy = served.deploying();
    let first = stream.until(|event| event.kind == "step");
    assert_eq!(first[0].data["deployment"]["state"], "running");
    let mut events = first;
    events.extend(stream.until(is_over));
    let finished = deploy.wait_with_output().unwrap();
    assert!(finished.status.success());
    let id = events[0].data["deployment"]["id"].as_str().unwrap().to_owned();
    let (_, shown) = served.own(&format!("/_deploy/deployments/{id}"));
    let known: Vec<&str> =
        shown["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(steps(&events), known, "every step, once, in order");
    for at in [0, events.len() / 2, events.len() - 2] {
        let last = format!("Last-Event-ID: {}", events[at].id);
        let mut resumed = Stream::open(served.own, "/_deploy/events", &[&last]);
        let rest = resumed.until(is_over);
        // States between the steps are told as long as they last, steps always.
        assert_eq!(steps(&rest), steps(&events[at + 1..]));
        assert_eq!(rest.last().map(|event| &event.id), events.last().map(|event| &event.id));
    }
}

#[test]
fn a_failed_deployment_is_told_with_its_problem_and_what_went_back() {
    let served = Served::serving("");
    served.world.faulty("{\"exit_at_start\": 1}");
    let mut stream = Stream::open(served.own, "/_deploy/dev/events", &[]);
    served.world.run("deploy", &["dev"]).refused("instance-exited");
    let events = stream.until(is_over);
    let failed = events.iter().find(|event| event.data["step"]["status"] == "failed").unwrap();
    assert_eq!(failed.data["step"]["problem"]["type"], "instance-exited");
    assert_eq!(events.last().unwrap().data["deployment"]["outcome"], "failed");
}

#[test]
fn the_stream_of_one_environment_is_silent_about_the_other() {
    let served = Served::serving("");
    let mut stream = Stream::open(served.own, "/_deploy/prod/events", &[]);
    served.world.release("v2");
    served.world.run("deploy", &["dev"]).ok();
    served.world.run("deploy", &["prod", "--promote"]).ok();
    let events = stream.until(is_over);
    assert!(events.iter().all(|event| {
        event.data["environment"] == "prod" || event.data["deployment"]["environment"] == "prod"
    }));
    let (status, _, body) =
        exchange(served.own, "GET", "/_deploy/events?after=nonsense", &[&format!("Host: {}", served.own)])
            .unwrap();
    assert!(status == 400 && body.contains("bad-question"), "{body}");
}

#[test]
fn who_listens_when_too_many_do_is_sent_away_and_everything_else_still_answers() {
    let served = Served::serving("public = [\"events\", \"version\"]");
    let listen = || Stream::open(served.own, "/_deploy/events", &[]);
    let streams: Vec<Stream> = std::iter::repeat_with(listen).take(256).collect();
    let host = format!("Host: {}", served.own);
    for (address, headers) in [(served.own, &[host.as_str()][..]), (served.world.listen("dev"), &[])] {
        let (status, head, body) = exchange(address, "GET", "/_deploy/events", headers).unwrap();
        assert!(status == 503 && body.contains("too-many-streams"), "{body}");
        assert!(head.to_lowercase().contains("retry-after"), "{head}");
        assert_eq!(exchange(address, "GET", "/_deploy/version", headers).unwrap().0, 200);
    }
    drop(streams);
}
