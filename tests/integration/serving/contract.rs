//! What `openapi.json` promises, asked of the running server by a fuzzer that knows nothing else.

use std::process::Command;

use tests::parts;

use super::Served;

#[test]
fn the_contract_holds_for_every_question_that_a_fuzzer_makes_up() {
    let Some(schemathesis) = parts::find("bin/schemathesis") else { return };
    let served = Served::serving("");
    served.world.run("deploy", &["prod", "--promote"]).ok();
    let url = format!("http://{}/_deploy/openapi.json", served.own);
    // A stream has no end; it is read elsewhere.
    let words = [
        "--exclude-path-regex",
        "events$",
        "--max-examples",
        "15",
        "--seed",
        "1",
        "--no-color",
        "--generation-database",
        ":memory:",
    ];
    let output = Command::new(schemathesis)
        .args(["run", &url, "--checks", "all", "--phases", "examples,coverage,fuzzing"])
        .args(words)
        .current_dir(served.world.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_contract_has_every_endpoint_that_there_is() {
    let served = Served::serving("");
    let (_, contract) = served.own("/_deploy/openapi.json");
    let paths = contract["paths"].as_object().unwrap();
    for endpoint in common::config::ENDPOINTS.iter().filter(|name| **name != "dashboard") {
        for path in [format!("/_deploy/{endpoint}"), format!("/_deploy/{{environment}}/{endpoint}")] {
            assert!(paths.contains_key(&path), "{path}");
        }
        if *endpoint != "events" {
            let (status, _, body) = served.own_text(&format!("/_deploy/dev/{endpoint}"));
            assert_eq!(status, 200, "{endpoint}: {body}");
        }
    }
    let metrics = served.own_text("/_deploy/metrics").2;
    for line in [
        "deploy_healthy{environment=\"dev\"} 1",
        "deploy_deployments{environment=\"dev\",state=\"verified\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} not in {metrics}");
    }
}
