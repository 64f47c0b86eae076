//! Rego, by regorus: compiled once for its virtual machine, and for each decision a fresh input, filled by hand.

use std::collections::BTreeMap;

use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::vm::RegoVM;
use regorus::{Engine, Rc, Value};
use smtp_fallback_policy::contract::{AuthResult, AuthResults, Connection, Envelope, Reply};

use crate::input::{Counted, Facts, Input, Settings};
use crate::ruling::{self, Ruling, verdict, word};
use crate::{Failed, Peer};

const POLICY: &str = include_str!("../policies/policy.rego");

const ENTRY_POINT: &str = "data.smtp_fallback.decision";

/// A machine with the program and the settings.
pub(crate) struct Rego(RegoVM);

impl Peer for Rego {
    fn new(settings: &Settings) -> Result<Self, Failed> {
        let mut engine = Engine::new();
        engine.add_policy("policy.rego".into(), POLICY.into())?;
        let policy = engine.compile_with_entrypoint(&Rc::from(ENTRY_POINT))?;
        let mut vm = RegoVM::new_with_policy(policy.clone());
        vm.load_program(Compiler::compile_from_policy(&policy, &[ENTRY_POINT])?);
        vm.set_data(object([("settings", Value::from_json_str(&serde_json::to_string(settings)?)?)]))?;
        Ok(Rego(vm))
    }

    fn decide(&mut self, input: &Input) -> Result<Ruling, Failed> {
        let Rego(vm) = self;
        vm.set_input(of_input(input));
        let decision = vm.execute()?;
        if decision == Value::Undefined {
            return Err("the decision is undefined".into());
        }
        let text = |name: &str| Ok::<&str, Failed>(decision[name].as_string()?);
        let reply = match &decision["reply"] {
            Value::Undefined => None,
            reply => Some(read_reply(reply)?),
        };
        let reason = word(text("reason")?)?;
        Ok(match &decision["would"] {
            Value::Undefined => Ruling { verdict: verdict(text("verdict")?, reply)?, reason, would: None },
            would => {
                Ruling { verdict: verdict(text("verdict")?, None)?, reason, would: Some(verdict(would.as_string()?, reply)?) }
            }
        })
    }
}

fn of_input(input: &Input) -> Value {
    let Connection { stage, listener, authenticated, listener_offers, acknowledged, reachable_over_ipv4, now, .. } =
        &input.connection;
    let mut fields = BTreeMap::from([
        field("stage", ruling::stage(*stage)),
        field("client", input.client.as_str()),
        field("prefix", input.prefix.as_str()),
        field("listener", ruling::listener(*listener)),
        field("authenticated", *authenticated),
        field("listener_offers", *listener_offers),
        field("acknowledged", *acknowledged),
        field("reachable_over_ipv4", *reachable_over_ipv4),
        field("now", *now),
        field("facts", of_facts(&input.facts)),
    ]);
    if let Some(Envelope { mail_from, recipients }) = &input.envelope {
        let recipients: Vec<Value> = recipients.iter().map(|each| Value::from(each.as_str())).collect();
        fields.extend([field(
            "envelope",
            object([("mail_from", Value::from(mail_from.as_str())), ("recipients", Value::from(recipients))]),
        )]);
    }
    if let Some(results) = input.auth_results.as_ref().filter(|results| !results.is_empty()) {
        fields.extend([field("results", of_results(results))]);
    }
    Value::from(fields)
}

fn of_results(AuthResults { spf_mail_from, spf_helo, dkim, dmarc, arc: _, iprev: _ }: &AuthResults) -> Value {
    let one = |result: AuthResult, domain: &str| [field("result", result.as_str()), field("domain", domain)];
    let mut fields = BTreeMap::new();
    for (name, spf) in [("spf_mail_from", spf_mail_from), ("spf_helo", spf_helo)] {
        fields.extend(spf.as_ref().map(|spf| field(name, Value::from(BTreeMap::from(one(spf.result, &spf.domain))))));
    }
    if let Some(signatures) = dkim {
        let list = signatures.iter().map(|signature| {
            let mut fields = BTreeMap::from(one(signature.result, &signature.domain));
            fields.extend([field("testing", signature.testing)]);
            Value::from(fields)
        });
        fields.extend([field("dkim", list.collect::<Vec<Value>>())]);
    }
    fields.extend(dmarc.as_ref().map(|dmarc| field("dmarc", Value::from(BTreeMap::from(one(dmarc.result, &dmarc.domain))))));
    Value::from(fields)
}

fn of_facts(Facts { penalty, capable_at, incapable_at, passed, failed, temporary, temporary_48 }: &Facts) -> Value {
    let mut fields = BTreeMap::from([field("passed", *passed), field("failed", *failed)]);
    fields.extend(penalty.as_ref().map(|penalty| {
        let inner = [
            ("refuse_until", Value::from(penalty.refuse_until)),
            ("last_failure", Value::from(penalty.last_failure)),
            ("simulated", Value::from(penalty.simulated)),
        ];
        field("penalty", object(inner))
    }));
    for (name, time) in [("capable_at", capable_at), ("incapable_at", incapable_at)] {
        fields.extend(time.map(|time| field(name, time)));
    }
    for (name, counted) in [("temporary", temporary), ("temporary_48", temporary_48)] {
        fields.extend(
            counted.map(|Counted { since, count }| {
                field(name, object([("since", Value::from(since)), ("count", Value::from(count))]))
            }),
        );
    }
    Value::from(fields)
}

fn field(name: &str, value: impl Into<Value>) -> (Value, Value) {
    (Value::from(name), value.into())
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::from(BTreeMap::from(fields.map(|(name, value)| (Value::from(name), value))))
}

fn read_reply(reply: &Value) -> Result<Reply, Failed> {
    let lines = reply["lines"].as_array()?;
    Ok(Reply {
        code: reply["code"].as_u16()?,
        enhanced_code: reply["enhanced_code"].as_string()?.to_string(),
        lines: lines.iter().map(|line| Ok(line.as_string()?.to_string())).collect::<Result<_, Failed>>()?,
        close: *reply["close"].as_bool()?,
    })
}
