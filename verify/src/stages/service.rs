//! Whether the instance and the gateway run and answer at all.

use common::address::Address;
use common::report::Problem;
use common::supervisor::Condition;

use super::LIMIT;
use crate::http::{Asker, Request};
use crate::subject::Subject;

pub(super) fn check(subject: &Subject) -> Result<(), Problem> {
    check_instance(subject)?;
    answers(subject, &subject.instance.address, "instance-unhealthy")?;
    if subject.slot.is_none() {
        check_gateway(subject)?;
        answers(subject, &subject.address, "gateway-unhealthy")?;
    }
    Ok(())
}

fn check_instance(subject: &Subject) -> Result<(), Problem> {
    let (slot, supervisor) = (subject.instance.slot, &subject.supervisor);
    let problem = match supervisor.condition(&subject.place, slot) {
        Condition::Running { .. } => return Ok(()),
        Condition::Exited { ending } => {
            Problem::new("instance-exited", format!("the instance in slot {slot} ended with {ending}"))
        }
        Condition::Orphaned { pid } => {
            Problem::new("keeper-gone", format!("nothing keeps the instance in slot {slot} alive"))
                .detail(format!("pid {pid} goes on without its keeper"))
        }
        Condition::Stopped => Problem::new("instance-stopped", format!("nothing runs in slot {slot}")),
    };
    Err(problem.hint(supervisor.log(&subject.place, slot).hint()))
}

fn check_gateway(subject: &Subject) -> Result<(), Problem> {
    match subject.gateway.status() {
        Some(_) => Ok(()),
        None => Err(Problem::new("gateway-stopped", "the gateway does not run")
            .hint(format!("status {}", subject.place.environment()))),
    }
}

/// Any answer below 500 is one: what it says is for the routes.
fn answers(subject: &Subject, address: &Address, kind: &str) -> Result<(), Problem> {
    let asker = Asker::new(address)?;
    let url = asker.url(&subject.health);
    let hint = address.curl_hint(&subject.health);
    match asker.ask(&Request::get(&subject.health, subject.remaining(LIMIT))) {
        Ok(reply) if reply.status < 500 => Ok(()),
        Ok(reply) => Err(Problem::new(kind, format!("{url} answers {}", reply.status))
            .detail(reply.excerpt())
            .hint(hint)),
        Err(finding) => Err(Problem::new(finding.kind, format!("{url} {}", finding.phrase))
            .detail(finding.detail)
            .hint(hint)),
    }
}
