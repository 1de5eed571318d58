//! The server block that `deploy init` writes and the operator includes. From then on it is the
//! operator's: TLS, names and limits belong there, and it is never written again.

use super::{Client, include};
use crate::report::{Problem, quoted};

/// Since then an idle connection that a client is about to use is not closed by a reload.
const KEEPS_IDLE: (u32, u32, u32) = (1, 27, 4);
/// What would not stay one word between quotes in nginx's configuration, or be a pattern.
const SPECIAL: [char; 9] = ['"', '\'', '\\', '$', '*', '?', '[', '\n', '\r'];

/// What is answered when nothing serves.
pub(super) const CLOSED: &str = "not available at the moment\n";

/// The whole file.
///
/// # Errors
/// `not-written` when the state directory's path cannot stand in nginx's configuration.
pub(super) fn text(client: &Client) -> Result<String, Problem> {
    let path = include::path(&client.place).display().to_string();
    if path.contains(SPECIAL) {
        return Err(Problem::new("not-written", format!("nginx cannot include {path:?}"))
            .detail("its path has characters that nginx reads as something else")
            .hint(format!("ls -d {}", quoted(path))));
    }
    let name = include::name(&client.place);
    let text = TEMPLATE
        .replace("{{ENVIRONMENT}}", client.place.environment())
        .replace("{{INCLUDE}}", &path)
        .replace("{{LISTEN}}", &client.listen.0.to_string())
        .replace("{{KEEP_IDLE}}", keep_idle(client.nginx.is_at_least(KEEPS_IDLE)))
        .replace("{{COUNTING}}", &counting(client))
        .replace("{{CLOSED}}", &CLOSED.replace('\n', "\\n"))
        .replace("{{NAME}}", &name)
        .replace("{{VARIABLE}}", &include::variable(&name));
    Ok(text)
}

fn keep_idle(is_known: bool) -> &'static str {
    if is_known {
        "keepalive_min_timeout 1s;"
    } else {
        "# keepalive_min_timeout 1s;   # nginx 1.27.4 and later know it"
    }
}

/// Only where its workers can see the mark.
fn counting(client: &Client) -> String {
    let Some(answers) = &client.answers else { return String::new() };
    format!(
        "\n    # Answers are counted while a new release is watched. An access_log here takes the place\n    \
         # of the one in `http`: name yours again if you want both.\n    \
         set ${{{{VARIABLE}}}}_counted \"\";\n    if (-f {}) {{ set ${{{{VARIABLE}}}}_counted 1; }}\n    \
         access_log \"{}\" {{{{NAME}}}} if=${{{{VARIABLE}}}}_counted;\n",
        answers.mark.display(),
        answers.log.display()
    )
}

const TEMPLATE: &str = r#"# Written once by `deploy init --nginx {{ENVIRONMENT}}`, and yours from now on: nothing writes it again.
# It belongs into nginx's `http` block, by an include or a symlink in conf.d.
include "{{INCLUDE}}";

server {
    # Deployments are proved through this address. Users may come by others too, for example:
    #   listen 443 ssl; server_name www.example.org; ssl_certificate …; ssl_certificate_key …;
    listen {{LISTEN}};
    server_name _;
    client_max_body_size 0;
    proxy_read_timeout 300s;
    # A reload closes idle connections; a client that is about to use one must notice and ask again.
    # This gives it the time:
    {{KEEP_IDLE}}
{{COUNTING}}
    error_page 502 503 = @{{VARIABLE}}_closed;

    location / {
        if (${{VARIABLE}}_closed) { return 503; }
        proxy_pass http://{{NAME}};
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Host $http_host;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection ${{VARIABLE}}_connection;
    }

    # What is shown when nothing serves, and during maintenance.
    location @{{VARIABLE}}_closed {
        default_type text/plain;
        add_header Retry-After 5 always;
        return 503 "{{CLOSED}}";
    }

    # What nginx has loaded; only this host learns it. Deployments need it as it is.
    location = /_deploy/gateway {
        access_log off;
        default_type application/json;
        if (${{VARIABLE}}_gateway = "") { return 404; }
        return 200 "${{VARIABLE}}_gateway\n";
    }
    location = /_deploy/blue {
        access_log off;
        if (${{VARIABLE}}_gateway = "") { return 404; }
        if (${{VARIABLE}}_slots = "") { return 404; }
        proxy_pass http://{{NAME}}-blue/;
    }
    location = /_deploy/green {
        access_log off;
        if (${{VARIABLE}}_gateway = "") { return 404; }
        if (${{VARIABLE}}_slots = "") { return 404; }
        proxy_pass http://{{NAME}}-green/;
    }

    # The status server, where deploy.toml names one.
    location ^~ /_deploy/ {
        access_log off;
        if (${{VARIABLE}}_status = "") { return 404; }
        proxy_pass http://${{VARIABLE}}_status;
        proxy_http_version 1.1;
        proxy_buffering off;
        proxy_set_header Connection "";
        proxy_set_header X-Deploy-Environment "{{ENVIRONMENT}}";
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
    }
}
"#;
