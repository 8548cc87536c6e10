//! `/status` for people: one page, no scripts, nothing loaded from anywhere.

use std::fmt::Write;

use quorate_api::json::{ConfigurationStatus, MemberStatus};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:52rem;padding:0 1rem;\
color-scheme:light dark}h1{font-size:1.4rem;margin-bottom:0}p{margin-top:.2rem}table{border-collapse:collapse;\
width:100%;margin:1rem 0}td,th{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8884}\
th{font-weight:600}td:first-child{white-space:nowrap}.bad{color:#c22}";

pub(super) fn page(status: &MemberStatus) -> String {
    let mut body = String::new();
    let name = escape(&status.name);
    let leader = status.leader.as_deref().map_or_else(
        || "<span class=bad>no leader is known</span>".to_owned(),
        |leader| format!("{} leads term {}", escape(leader), status.term),
    );
    let _ = write!(body, "<h1>{name}</h1><p>{}, {}; {leader}</p>", status.member_state, status.role);
    for (is_so, text) in [
        (!status.ready, "This member has not caught up yet since it started."),
        (status.space_low, "The volume is nearly full: growing writes are refused."),
        (status.volume_lost, "The cluster knows this member with another volume: it serves nothing."),
    ] {
        if is_so {
            let _ = write!(body, "<p class=bad>{text}</p>");
        }
    }
    if !status.publishing_error.is_empty() {
        let why = escape(&status.publishing_error);
        let _ = write!(body, "<p class=bad>Status does not reach Kubernetes: {why}</p>");
    }
    let log = &status.log;
    let contact = status.last_contact_ms.map_or_else(|| "never".to_owned(), |age| format!("{age} ms ago"));
    rows(
        &mut body,
        &[
            ("Raft ID", escape(&status.raft_id)),
            ("Incarnation", escape(&status.incarnation)),
            ("Cluster", escape(&status.cluster_id)),
            ("Version", escape(status.version)),
            ("Node, zone", format!("{}, {}", shown(&status.node), shown(&status.zone))),
            ("Leader heard", contact),
            ("Log", format!("{} to {}, about {} bytes", log.first_index, log.last_index, log.log_bytes)),
            (
                "Committed, applied, synced",
                format!("{}, {}, {}", log.commit_index, log.applied_index, log.durable_applied_index),
            ),
        ],
    );
    match &status.configuration {
        Some(configuration) => servers(&mut body, configuration),
        None => body.push_str("<p>It is in no cluster yet.</p>"),
    }
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>{name}</title><style>{STYLE}</style>{body}</html>\n"
    )
}

fn rows(body: &mut String, rows: &[(&str, String)]) {
    body.push_str("<table>");
    for (label, value) in rows {
        let _ = write!(body, "<tr><td>{label}<td>{value}");
    }
    body.push_str("</table>");
}

fn servers(body: &mut String, configuration: &ConfigurationStatus) {
    let committed = if configuration.committed { "" } else { ", not committed yet" };
    let _ = write!(body, "<p>Configuration {}{committed}</p>", configuration.index);
    body.push_str("<table><tr><th>Server<th>Votes<th>Trails by<th>Last acknowledgement<th>Address");
    let or_dash = |number: Option<u64>, unit: &str| {
        number.map_or_else(|| "–".to_owned(), |number| format!("{number}{unit}"))
    };
    for server in &configuration.servers {
        let _ = write!(
            body,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}",
            escape(&server.raft_id),
            if server.voter { "yes" } else { "no" },
            or_dash(server.trailing, ""),
            or_dash(server.last_ack_ms, " ms ago"),
            escape(&server.address),
        );
    }
    body.push_str("</table>");
}

fn shown(text: &str) -> String {
    if text.is_empty() { "unknown".to_owned() } else { escape(text) }
}

/// Names come from outside; none of them may become markup.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_api::json::LogStatus;

    #[test]
    fn names_from_outside_never_become_markup() {
        let log = LogStatus {
            first_index: 1,
            last_index: 9,
            last_term: 2,
            commit_index: 9,
            applied_index: 9,
            durable_applied_index: 3,
            log_bytes: 640,
        };
        let hostile = "<script>alert(1)</script>".to_owned();
        let status = MemberStatus {
            name: hostile.clone(),
            raft_id: "db-0-3f2a91c4".to_owned(),
            incarnation: "0".repeat(32),
            cluster_id: "1".repeat(32),
            recovery_epoch: 0,
            version: "0.1.0",
            node: hostile.clone(),
            zone: String::new(),
            member_state: "voter",
            role: "follower",
            term: 2,
            leader: None,
            last_contact_ms: None,
            ready: false,
            space_low: false,
            volume_lost: false,
            publishing_error: hostile,
            log,
            configuration: None,
        };
        let page = page(&status);
        assert!(!page.contains("<script>"), "{page}");
        assert!(page.contains("no leader is known"));
        assert!(page.contains("has not caught up"));
    }
}
