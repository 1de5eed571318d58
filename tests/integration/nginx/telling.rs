//! The status server behind an nginx.

use tests::http::exchange;
use tests::nginx::Nginx;
use tests::ports;
use tests::world::World;

#[test]
fn nginx_leads_visitors_to_the_status_server_and_says_whose_they_are() {
    let world = World::new();
    let (own, _claim) = ports::claim();
    let table = format!("[status]\nlisten = \"{own}\"\n\n[environments.dev]\n");
    world.configure("[environments.dev]\n", &table);
    world.release("v1");
    let Some(_nginx) = Nginx::serving(&world, "reload") else { return };
    world.run("deploy", &["dev"]).ok();
    let visit = |path: &str, headers: &[&str]| exchange(world.listen("dev"), "GET", path, headers).unwrap();
    let begun = std::time::Instant::now();
    while visit("/_deploy/health", &[]).0 != 200 {
        assert!(begun.elapsed().as_secs() < 20, "{:?}", visit("/_deploy/health", &[]));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let (_, _, body) = visit("/_deploy/health", &["X-Deploy-Environment: prod"]);
    assert!(body.contains("\"environment\":\"dev\""), "{body}");
    for headers in [&[][..], &["Host: 127.0.0.1"], &["Host: localhost"]] {
        let (status, _, body) = visit("/_deploy/status", headers);
        assert!(status == 403 && body.contains("not-public"), "{status} {body}");
    }
}
