//! Lua, by mlua: one state with the policy loaded once, and for each decision fresh tables: filled by hand, or converted by serde.

use mlua::serde::ser::Options;
use mlua::{Function, Lua, LuaSerdeExt, LuaString, Table, Value};
use serde::Serialize;
use smtp_fallback_policy::contract::{AuthResult, AuthResults, Connection, Envelope, Reply, Spf};

use crate::input::{Counted, Facts, Input, Settings};
use crate::ruling::{Ruling, verdict, word};
use crate::{Failed, Peer};

const POLICY: &str = include_str!("../policies/policy.lua");

/// Absent fields are absent in the table, too.
const PLAIN: Options = Options::new().set_array_metatable(false).serialize_none_to_null(false);

/// A state with the policy.
struct Policy {
    lua: Lua,
    decide: Function,
}

impl Policy {
    fn new(settings: &Settings) -> Result<Self, Failed> {
        let lua = Lua::new();
        lua.globals().set("settings", lua.to_value_with(settings, PLAIN)?)?;
        let networks = settings.networks.clone();
        let within = lua.create_function(move |_, (client, list): (LuaString, LuaString)| {
            Ok(networks.within(&client.to_str()?, &list.to_str()?))
        })?;
        lua.globals().set("within", within)?;
        let decide = lua.load(POLICY).set_name("=policy.lua").eval()?;
        Ok(Policy { lua, decide })
    }
}

/// What the policy returns: verdict, reason, reply and, in observe mode, what the verdict would have been.
type Returned<T> = (LuaString, LuaString, Option<T>, Option<LuaString>);

/// Tables filled by hand: with what the policy may look at.
pub(crate) struct ByHand(Policy);

impl Peer for ByHand {
    fn new(settings: &Settings) -> Result<Self, Failed> {
        Policy::new(settings).map(ByHand)
    }

    fn decide(&mut self, input: &Input) -> Result<Ruling, Failed> {
        let Policy { lua, decide } = &self.0;
        let arguments = (
            connection(lua, input)?,
            input.envelope.as_ref().map(|each| envelope(lua, each)).transpose()?,
            input.auth_results.as_ref().map(|each| results(lua, each)).transpose()?,
            facts(lua, &input.facts)?,
        );
        let (told, reason, reply, would): Returned<Table> = decide.call(arguments)?;
        let reply = reply.as_ref().map(read_reply).transpose()?;
        ruling(&told, &reason, reply, would)
    }
}

fn ruling(told: &LuaString, reason: &LuaString, reply: Option<Reply>, would: Option<LuaString>) -> Result<Ruling, Failed> {
    let (told, reason) = (told.to_str()?, word(&reason.to_str()?)?);
    Ok(match would {
        None => Ruling { verdict: verdict(&told, reply)?, reason, would: None },
        Some(would) => Ruling { verdict: verdict(&told, None)?, reason, would: Some(verdict(&would.to_str()?, reply)?) },
    })
}

fn connection(lua: &Lua, input: &Input) -> mlua::Result<Table> {
    let Connection { stage, listener, authenticated, listener_offers, acknowledged, reachable_over_ipv4, now, .. } =
        &input.connection;
    let table = lua.create_table_with_capacity(0, 9)?;
    table.raw_set("client", input.client.as_str())?;
    table.raw_set("prefix", input.prefix.as_str())?;
    table.raw_set("stage", crate::ruling::stage(*stage))?;
    table.raw_set("listener", crate::ruling::listener(*listener))?;
    table.raw_set("authenticated", *authenticated)?;
    table.raw_set("listener-offers", *listener_offers)?;
    table.raw_set("acknowledged", *acknowledged)?;
    table.raw_set("reachable-over-ipv4", *reachable_over_ipv4)?;
    table.raw_set("now", *now)?;
    Ok(table)
}

fn envelope(lua: &Lua, Envelope { mail_from, recipients }: &Envelope) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, 2)?;
    table.raw_set("mail-from", mail_from.as_str())?;
    table.raw_set("recipients", lua.create_sequence_from(recipients.iter().map(String::as_str))?)?;
    Ok(table)
}

fn results(lua: &Lua, results: &AuthResults) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, 6)?;
    let one = |result: AuthResult, domain: Option<&str>| {
        let table = lua.create_table_with_capacity(0, 3)?;
        table.raw_set("result", result.as_str())?;
        if let Some(domain) = domain {
            table.raw_set("domain", domain)?;
        }
        Ok::<Table, mlua::Error>(table)
    };
    let AuthResults { spf_mail_from, spf_helo, dkim, dmarc, arc, iprev } = results;
    for (name, spf) in [("spf-mail-from", spf_mail_from), ("spf-helo", spf_helo)] {
        if let Some(Spf { result, domain }) = spf {
            table.raw_set(name, one(*result, Some(domain))?)?;
        }
    }
    if let Some(signatures) = dkim {
        let list = lua.create_table_with_capacity(signatures.len(), 0)?;
        for (index, signature) in signatures.iter().enumerate() {
            let table = one(signature.result, Some(&signature.domain))?;
            table.raw_set("testing", signature.testing)?;
            list.raw_set(index + 1, table)?;
        }
        table.raw_set("dkim", list)?;
    }
    if let Some(dmarc) = dmarc {
        table.raw_set("dmarc", one(dmarc.result, Some(&dmarc.domain))?)?;
    }
    if let Some(arc) = arc {
        table.raw_set("arc", one(arc.result, None)?)?;
    }
    if let Some(iprev) = iprev {
        table.raw_set("iprev", one(iprev.result, None)?)?;
    }
    Ok(table)
}

fn facts(lua: &Lua, facts: &Facts) -> mlua::Result<Table> {
    let Facts { penalty, capable_at, incapable_at, passed, failed, temporary, temporary_48 } = facts;
    let table = lua.create_table_with_capacity(0, 7)?;
    if let Some(penalty) = penalty {
        let inner = lua.create_table_with_capacity(0, 3)?;
        inner.raw_set("refuse_until", penalty.refuse_until)?;
        inner.raw_set("last_failure", penalty.last_failure)?;
        inner.raw_set("simulated", penalty.simulated)?;
        table.raw_set("penalty", inner)?;
    }
    table.raw_set("capable_at", *capable_at)?;
    table.raw_set("incapable_at", *incapable_at)?;
    table.raw_set("passed", *passed)?;
    table.raw_set("failed", *failed)?;
    for (name, counted) in [("temporary", temporary), ("temporary_48", temporary_48)] {
        if let Some(Counted { since, count }) = counted {
            let inner = lua.create_table_with_capacity(0, 2)?;
            inner.raw_set("since", *since)?;
            inner.raw_set("count", *count)?;
            table.raw_set(name, inner)?;
        }
    }
    Ok(table)
}

fn read_reply(table: &Table) -> mlua::Result<Reply> {
    Ok(Reply {
        code: table.raw_get("code")?,
        enhanced_code: table.raw_get("enhanced-code")?,
        lines: table.raw_get("lines")?,
        close: table.raw_get("close")?,
    })
}

/// Tables converted by serde: the contract's types, as they are.
pub(crate) struct Converted(Policy);

/// A connection, with what the policy looks at besides.
#[derive(Serialize)]
struct Flat<'a> {
    #[serde(flatten)]
    connection: &'a Connection,
    prefix: &'a str,
}

impl Peer for Converted {
    fn new(settings: &Settings) -> Result<Self, Failed> {
        Policy::new(settings).map(Converted)
    }

    fn decide(&mut self, input: &Input) -> Result<Ruling, Failed> {
        let Policy { lua, decide } = &self.0;
        let Input { connection, envelope, auth_results, prefix, facts, client: _ } = input;
        let arguments = (
            lua.to_value_with(&Flat { connection, prefix }, PLAIN)?,
            lua.to_value_with(envelope, PLAIN)?,
            lua.to_value_with(auth_results, PLAIN)?,
            lua.to_value_with(facts, PLAIN)?,
        );
        let (told, reason, reply, would): Returned<Value> = decide.call(arguments)?;
        let reply = reply.map(|reply| lua.from_value::<Option<Reply>>(reply)).transpose()?.flatten();
        ruling(&told, &reason, reply, would)
    }
}
