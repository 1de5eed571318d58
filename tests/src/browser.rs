//! A real Chromium, headless and driven over pipes, with a profile of its own that goes with it. It
//! opens pages, runs expressions in them and remembers what they complained about.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::skipped;

const LIMIT: Duration = Duration::from_secs(30);
const PROGRAMS: [&str; 2] = ["chromium", "google-chrome"];
const ARGUMENTS: [&str; 9] = [
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--hide-scrollbars",
];
/// The shell's own pipes become those that the browser looks for.
const AROUND: &str = r#"exec "$@" 3<&0 4>&1 </dev/null >/dev/null 2>/dev/null"#;

/// A running browser with one tab.
pub struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    number: u64,
    session: String,
    /// Errors of scripts, of the console and of what was loaded.
    pub complaints: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// Starts one; nothing, and said so, where there is none.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = |name: &&str| std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
        let Some(program) = PROGRAMS.into_iter().find(found) else {
            skipped("there is no Chromium: scripts/setup");
            return None;
        };
        let profile = tempfile::Builder::new().prefix("deploy-browser-").tempdir().expect("a profile");
        let mut command = Command::new("sh");
        command.args(["-c", AROUND, "sh", program]).args(ARGUMENTS);
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        if geteuid().is_root() {
            command.arg("--no-sandbox");
        }
        command.env("HOME", profile.path()).env("LANG", "C.UTF-8").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("a browser");
        let (commands, answers) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for bytes in BufReader::new(answers).split(0).map_while(Result::ok) {
                let sent = serde_json::from_slice(&bytes).map(|message| sender.send(message));
                if !matches!(sent, Ok(Ok(()))) {
                    return;
                }
            }
        });
        let (session, complaints) = (String::new(), Vec::new());
        let mut browser =
            Self { child, commands, messages, number: 0, session, complaints, _profile: profile };
        browser.attach();
        Some(browser)
    }

    fn attach(&mut self) {
        let begun = Instant::now();
        let target = loop {
            let targets = self.call("Target.getTargets", json!({}));
            let known = targets["targetInfos"].as_array().cloned().unwrap_or_default();
            if let Some(page) = known.into_iter().find(|target| target["type"] == "page") {
                break page["targetId"].clone();
            }
            assert!(begun.elapsed() < LIMIT, "the browser opens no tab");
        };
        let attached = self.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        attached["sessionId"].as_str().expect("a session").clone_into(&mut self.session);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
    }

    /// A window of this size, in light or dark.
    pub fn look(&mut self, width: u32, height: u32, scheme: &str) {
        let window = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", window);
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// Whether pages may run scripts.
    pub fn let_scripts_run(&mut self, wanted: bool) {
        self.call("Emulation.setScriptExecutionDisabled", json!({"value": !wanted}));
    }

    /// Opens a page and waits until it is loaded.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub fn open(&mut self, url: &str) {
        let begun = self.call("Page.navigate", json!({"url": url}));
        assert!(begun["errorText"].is_null(), "{url}: {begun}");
        self.await_true("document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    /// The value of an expression in the page; a promise is waited for.
    ///
    /// # Panics
    /// When it throws.
    pub fn ask(&mut self, expression: &str) -> Value {
        self.try_ask(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// The same, where the page may just go elsewhere.
    fn try_ask(&mut self, expression: &str) -> Result<Value, Value> {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.try_call("Runtime.evaluate", params)?;
        if answer["exceptionDetails"].is_null() { Ok(answer["result"]["value"].take()) } else { Err(answer) }
    }

    /// Waits until an expression is true.
    ///
    /// # Panics
    /// When it never is.
    pub fn await_true(&mut self, expression: &str) {
        let begun = Instant::now();
        while self.try_ask(expression) != Ok(Value::Bool(true)) {
            assert!(begun.elapsed() < LIMIT, "never: {expression}; {:?}", self.complaints);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The whole page as a PNG.
    ///
    /// # Panics
    /// When no picture can be taken.
    pub fn picture(&mut self, file: &Path) {
        let params = json!({"format": "png", "captureBeyondViewport": true});
        let answer = self.call("Page.captureScreenshot", params);
        let text = answer["data"].as_str().expect("a picture").to_owned();
        fs::write(file.with_extension("base64"), text).expect("a file");
        let line = r#"base64 -d "$1.base64" > "$1.png" && rm "$1.base64""#;
        let stem = file.with_extension("");
        let done = Command::new("sh").args(["-c", line, "sh"]).arg(stem).status().expect("sh");
        assert!(done.success());
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.try_call(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn try_call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.number += 1;
        let mut command = json!({"id": self.number, "method": method, "params": params});
        if !self.session.is_empty() {
            command["sessionId"] = json!(self.session);
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).expect("the browser's pipe");
        loop {
            let mut message = self.messages.recv_timeout(LIMIT).expect("an answer of the browser");
            if message["id"] == self.number {
                return if message["error"].is_null() { Ok(message["result"].take()) } else { Err(message) };
            }
            self.note(&message);
        }
    }

    fn note(&mut self, message: &Value) {
        let params = &message["params"];
        let complaint = match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => Some(params["exceptionDetails"].to_string()),
            Some("Runtime.consoleAPICalled") if params["type"] == "error" => Some(params["args"].to_string()),
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => {
                Some(params["entry"].to_string())
            }
            _ => None,
        };
        self.complaints.extend(complaint);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}
