//! The gateway ended at every fault point that starting and switching pass.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use crate::backend::Backend;
use crate::process::{Control, GATEWAY, Keeper, target, wait_for};
use crate::visitor::get;

/// Starts a gateway, switches it once to `backends[0]` and once to `backends[1]`, and once more to
/// each when it did not answer. Gives the points that it passed.
fn switch_with(fault: &str, backends: &[Backend; 2]) -> Vec<String> {
    let dir = TempDir::new().unwrap();
    let trace = dir.path().join("trace");
    let script =
        format!("exec env DEPLOY_FAULT_TRACE={} 'DEPLOY_FAULT={fault}' {GATEWAY} --dir .", trace.display());
    let keeper = Keeper::start(&["--listen", "127.0.0.1:0"], &["sh", "-c", &script]);
    let control = Control::new(keeper.dir.path());
    let ask_status = || control.try_ask(&json!({"command": "status"}));
    let mut before = json!(null);
    for (number, backend) in backends.iter().enumerate() {
        let wanted = target(backend.address, &number.to_string());
        wait_for("the gateway", ask_status);
        if control.try_ask(&json!({"command": "switch", "target": wanted})).is_none() {
            let active = wait_for("the gateway again", ask_status)["active"].clone();
            assert!(active == before || active == wanted, "{fault}: {active}");
            control.switch(backend.address, &number.to_string());
        }
        let address = wait_for("the gateway", ask_status)["listen"].as_str().unwrap().parse().unwrap();
        assert_eq!(get(address, "/").body, ["blue", "green"][number], "{fault}");
        before = wanted;
    }
    fs::read_to_string(trace).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_gateway_ended_anywhere_in_a_switch_serves_the_old_target_or_the_new_one() {
    let backends = [Backend::start("blue"), Backend::start("green")];
    let points = switch_with("none", &backends);
    assert!(points.len() > 10, "{points:?}");
    for point in &points {
        let passed = switch_with(point, &backends);
        assert!(passed.contains(point), "{point} was not reached");
    }
}
