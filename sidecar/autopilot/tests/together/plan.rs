//! Who is in a group, as a seed draws it.

use quorate_raft::Intent;
use rand::Rng;
use rand::rngs::SmallRng;

/// Redundancy zones of a group that has them.
pub(crate) const ZONE_COUNT: usize = 3;
const ZONES: [&str; ZONE_COUNT] = ["x", "y", "z"];
const OLD: &str = "1.0.0";
const NEW: &str = "2.0.0";

/// What a seed has drawn.
pub(crate) struct Plan {
    /// Each member, its intent, zone and version, in the order of joining.
    pub(crate) members: Vec<Joining>,
    pub(crate) has_zones: bool,
    pub(crate) has_upgrade: bool,
}

#[derive(Clone)]
pub(crate) struct Joining {
    pub(crate) name: String,
    pub(crate) intent: Intent,
    pub(crate) zone: Option<usize>,
    pub(crate) version: &'static str,
}

impl Plan {
    /// What a member has been since it joined.
    pub(crate) fn joining(&self, name: &str) -> Result<&Joining, String> {
        let found = self.members.iter().find(|joining| joining.name == name);
        found.ok_or_else(|| format!("nobody added {name}"))
    }
}

impl Joining {
    /// Its zone, if the group has zones.
    pub(crate) fn zone_name(&self) -> Option<&'static str> {
        self.zone.map(|zone| ZONES[zone])
    }

    /// Whether it is of the version that is upgraded to.
    pub(crate) fn is_new(&self) -> bool {
        self.version == NEW
    }
}

/// What the seed draws.
pub(crate) fn draw(rng: &mut SmallRng) -> Plan {
    let has_zones = rng.random_bool(0.5);
    let has_upgrade = rng.random_bool(0.4);
    let old = if has_zones { rng.random_range(4..=6) } else { rng.random_range(3..=5) };
    let new = if has_upgrade { old } else { 0 };
    let mut members = Vec::new();
    for at in 0..old + new {
        let (kind, version) = if at < old { ("m", OLD) } else { ("n", NEW) };
        let zone = has_zones.then_some(at % ZONE_COUNT);
        members.push(Joining { name: format!("{kind}{}", at % old), intent: Intent::Voter, zone, version });
    }
    if rng.random_bool(0.3) {
        let zone = has_zones.then(|| rng.random_range(0..ZONE_COUNT));
        let replica = Joining { name: "r0".to_owned(), intent: Intent::ReadReplica, zone, version: OLD };
        members.insert(old, replica);
    }
    Plan { members, has_zones, has_upgrade }
}
