//! The ways to a receiver: curl for webhooks, which has encryption and the operator's proxy; sendmail;
//! any command. Addresses with a secret in them go by stdin, since anybody may read arguments.

use std::fmt::Write;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::config::{Config, Receiver, is_mail_address, is_webhook};
use crate::exec::{Finished, Program};
use crate::report::Problem;
use crate::secrets::Secrets;

const LIMIT: Duration = Duration::from_secs(30);
/// What curl may take; the limit above is for a curl that hangs.
const ANSWER: &str = "connect-timeout = 5\nmax-time = 10\n";
const ADMINISTRATORS: [&str; 2] = ["/usr/sbin", "/usr/lib"];
/// Answers of a webhook that may be another one in a moment.
const BUSY: [u16; 3] = [408, 425, 429];
/// Members of a report that no webhook gets, wherever they stand.
const AT_HOME: [&str; 3] = ["log_file", "hint", "detail"];

/// Why a message was not taken.
#[derive(Debug)]
pub(super) enum Refused {
    /// A moment's trouble, perhaps.
    ForNow(String),
    /// It took all its time: too long to try it again now.
    Hung(String),
    /// It takes a person to mend it.
    Wrong(String),
}

impl Refused {
    pub(super) fn why(&self) -> &str {
        let (Self::ForNow(why) | Self::Hung(why) | Self::Wrong(why)) = self;
        why
    }

    pub(super) fn hide(self, secrets: &Secrets) -> Self {
        match self {
            Self::ForNow(why) => Self::ForNow(secrets.hide(&why)),
            Self::Hung(why) => Self::Hung(secrets.hide(&why)),
            Self::Wrong(why) => Self::Wrong(secrets.hide(&why)),
        }
    }
}

/// Sends one message; what is refused may quote secrets.
pub(super) fn send(
    config: &Config,
    receiver: Receiver<'_>,
    body: &str,
    secrets: &Secrets,
) -> Result<(), Refused> {
    match receiver {
        Receiver::Webhook(written) => {
            let url = fill(written, secrets)?;
            if !is_webhook(&url) {
                return Err(Refused::Wrong(format!("{written} is no https:// address")));
            }
            post(&url, body)
        }
        Receiver::Mail(written) => {
            let address = fill(written, secrets)?;
            if !is_mail_address(&address) {
                return Err(Refused::Wrong(format!("{written} is no plain mail address")));
            }
            mail(&address, body)
        }
        Receiver::Command(line) => run(config, line, body, secrets),
    }
}

/// `text` with the value of the env file for each `$NAME`.
fn fill(text: &str, secrets: &Secrets) -> Result<String, Refused> {
    let mut parts = text.split('$');
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(part.len());
        let (name, rest) = part.split_at(end);
        let value =
            secrets.get(name).ok_or_else(|| Refused::Wrong(format!("the env file has no ${name}")))?;
        filled.push_str(value);
        filled.push_str(rest);
    }
    Ok(filled)
}

fn post(url: &str, body: &str) -> Result<(), Refused> {
    let curl = Program::new("curl").args(["-q", "--config", "-"]);
    let finished = ended(curl.stdin(curl_config(url, body).into_bytes()))?;
    let status: u16 = String::from_utf8_lossy(&finished.stdout).trim().parse().unwrap_or(0);
    match status {
        200..300 => Ok(()),
        0 => Err(Refused::ForNow(format!("does not answer: {}", finished.tail))),
        500.. => Err(Refused::ForNow(format!("answered {status}"))),
        _ if BUSY.contains(&status) => Err(Refused::ForNow(format!("answered {status}"))),
        _ => Err(Refused::Wrong(format!("answered {status}"))),
    }
}

/// All that curl is to do, so that nothing of it is an argument. It follows no redirect.
fn curl_config(url: &str, body: &str) -> String {
    let mut text = format!(
        "{ANSWER}globoff\nsilent\nshow-error\noutput = \"/dev/null\"\nwrite-out = \"%{{http_code}}\"\n"
    );
    if url.starts_with("http://") {
        text.push_str("noproxy = \"*\"\n");
    }
    for (option, value) in
        [("url", url), ("header", "Content-Type: application/json"), ("data-raw", &for_webhook(body))]
    {
        let _ = writeln!(text, "{option} = \"{}\"", value.replace('\\', r"\\").replace('"', "\\\""));
    }
    text
}

/// In the sentence `<…>` would be a command to a chat: a title must not be able to call everybody. A
/// third party needs no paths of this host and nothing that programs print.
fn for_webhook(body: &str) -> String {
    let mut value: Value = serde_json::from_str(body).unwrap_or_default();
    keep_at_home(&mut value);
    if let Some(Value::String(text)) = value.get_mut("text") {
        *text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    }
    value.to_string()
}

fn keep_at_home(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !AT_HOME.contains(&name.as_str()));
            members.values_mut().for_each(keep_at_home);
        }
        Value::Array(items) => items.iter_mut().for_each(keep_at_home),
        _ => {}
    }
}

/// Whether this host has what it takes to reach a receiver.
///
/// # Errors
/// `requirement-missing`.
pub fn check(receiver: Receiver<'_>) -> Result<(), Problem> {
    let missing = |program: &str| {
        let title = format!("notify needs the program '{program}', which is missing");
        Problem::new("requirement-missing", title).hint(format!("command -v {program}"))
    };
    match receiver {
        Receiver::Webhook(_) if find("curl").is_none() => Err(missing("curl")),
        Receiver::Mail(_) if find("sendmail").is_none() => Err(missing("sendmail")),
        _ => Ok(()),
    }
}

/// Not every user has the directories of an administrator on the path.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(ADMINISTRATORS.map(PathBuf::from));
    dirs.map(|dir| dir.join(program)).find(|program| program.is_file())
}

fn mail(address: &str, body: &str) -> Result<(), Refused> {
    let found = find("sendmail")
        .ok_or_else(|| Refused::Wrong("needs the program sendmail, which is missing".to_owned()))?;
    let letter = letter(address, body);
    done(&ended(Program::new(found).args(["-i", "-t"]).stdin(letter.into_bytes()))?)
}

/// The sentence, and the report below it.
fn letter(address: &str, body: &str) -> String {
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    let word = |name: &str| value[name].as_str().unwrap_or_default();
    let report = serde_json::to_string_pretty(&value).unwrap_or_default();
    format!(
        "To: {address}\nSubject: {} {}: {}\nAuto-Submitted: auto-generated\nMIME-Version: 1.0\n\
         Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n{}\n\n{report}\n",
        word("app"),
        word("environment"),
        word("event"),
        word("text"),
    )
}

/// The command gets the values of the names that stand in it with a `$`, as variables.
fn run(config: &Config, line: &str, body: &str, secrets: &Secrets) -> Result<(), Refused> {
    let nowhere = OpenOptions::new()
        .write(true)
        .open("/dev/null")
        .map_err(|error| Refused::ForNow(format!("cannot open /dev/null: {error}")))?;
    let mut command = Program::shell(line).dir(config.root()).unseen(nowhere.into());
    let is_asked = |name: &str| line.contains(&format!("${name}")) || line.contains(&format!("${{{name}"));
    for (name, value) in secrets.pairs().filter(|(name, _)| is_asked(name)) {
        command = command.env(name, value);
    }
    done(&ended(command.stdin(format!("{body}\n").into_bytes()))?)
}

fn ended(program: Program<'_>) -> Result<Finished, Refused> {
    program.limit(LIMIT).run().map_err(|problem| refuse(&problem))
}

fn done(finished: &Finished) -> Result<(), Refused> {
    if finished.status.success() {
        return Ok(());
    }
    let ending = format!("ended with {}", finished.ending());
    let told = if finished.tail.is_empty() { ending } else { format!("{ending}: {}", finished.tail) };
    Err(Refused::ForNow(told))
}

/// A title may quote the command line; the kind says enough.
fn refuse(problem: &Problem) -> Refused {
    match problem.kind.as_str() {
        "time-limit" => Refused::Hung(format!("did not end within {} s", LIMIT.as_secs())),
        "interrupted" => Refused::ForNow("was interrupted".to_owned()),
        _ => {
            Refused::Wrong(format!("could not be started: {}", problem.detail.as_deref().unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filled_in_and_a_missing_one_is_told() {
        let secrets = Secrets::parse("A=one\nB_2=two\n").unwrap();
        assert_eq!(fill("https://x/$A/$B_2?q", &secrets).unwrap(), "https://x/one/two?q");
        assert_eq!(fill("$A-$C", &secrets).unwrap_err().why(), "the env file has no $C");
        assert_eq!(fill("plain", &secrets).unwrap(), "plain");
    }

    #[test]
    fn nothing_in_a_message_can_give_curl_another_option() {
        let body = r#"{"text":"a \"b\" <!channel> & c\\d","x":"<"}"#;
        let config = curl_config("https://x/\\\"y", body);
        let url = r#"url = "https://x/\\\"y""#;
        let data = r#"data-raw = "{\"text\":\"a \\\"b\\\" &lt;!channel&gt; &amp; c\\\\d\",\"x\":\"<\"}""#;
        assert!(config.lines().any(|line| line == url), "{config}");
        assert!(config.lines().any(|line| line == data), "{config}");
    }

    #[test]
    fn an_address_is_one_address_whatever_braces_it_has() {
        assert!(curl_config("https://x/{a,b}[1-9]", "{}").lines().any(|line| line == "globoff"));
    }

    #[test]
    fn a_webhook_gets_no_path_and_no_output_of_this_host() {
        let body = r#"{"text":"x","log_file":"/home/x/log","problem":{"title":"t","hint":"cd /home/x","detail":"out"},
            "steps":[{"name":"n","problem":{"detail":"/home/x"}}]}"#;
        let sent: Value = serde_json::from_str(&for_webhook(body)).unwrap();
        let problem = serde_json::json!({"title": "t"});
        assert_eq!((&sent["problem"], &sent["steps"][0]["name"]), (&problem, &"n".into()));
        assert!(!sent.to_string().contains("home") && !sent.to_string().contains("out"), "{sent}");
    }

    #[test]
    fn what_hangs_is_not_tried_again_at_once() {
        let refused = refuse(&Problem::new("time-limit", "x"));
        assert!(matches!(&refused, Refused::Hung(why) if why == "did not end within 30 s"), "{refused:?}");
    }

    #[test]
    fn a_value_that_is_no_address_is_refused_without_being_told() {
        let secrets = Secrets::parse("A=http://elsewhere.example/sentinel\nB='x@y, z@w'\n").unwrap();
        for written in ["$A", "mailto:$B"] {
            let dir = tempfile::tempdir().unwrap();
            let config = crate::config::load(Some(&minimal(dir.path()))).unwrap();
            let refused = send(&config, Receiver::read(written).unwrap(), "{}", &secrets).unwrap_err();
            assert!(refused.why().contains(written.trim_start_matches("mailto:")), "{refused:?}");
            assert!(!refused.why().contains("sentinel") && !refused.why().contains("z@w"), "{refused:?}");
        }
    }

    fn minimal(dir: &std::path::Path) -> PathBuf {
        let file = dir.join("deploy.toml");
        let text = "[app]\nname = 'x'\nrun = 'true'\n[environments.dev]\nbranches = ['dev']\nlisten = '127.0.0.1:8001'\n";
        std::fs::write(&file, text).unwrap();
        file
    }
}
