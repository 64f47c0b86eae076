//! CEL, by the crate cel: expressions parsed once, evaluated with variables that are made by hand when an expression asks for them, or that were
//! converted by serde before.

mod flat;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::{Context, Env, Program, Value, extensions};
use smtp_fallback_policy::contract::{AuthResult, Mode, Reply};

use crate::input::{Counted, Input, Settings};
use crate::ruling::{self, Ruling, word};
use crate::{Failed, Peer};

const POLICY: &str = include_str!("../policies/policy.cel");

/// Variables that borrow from what the host has, made when an expression asks for one.
pub(crate) struct ByHand(Policy);

impl Peer for ByHand {
    fn new(settings: &Settings) -> Result<Self, Failed> {
        Policy::new(settings).map(ByHand)
    }

    fn decide(&mut self, input: &Input) -> Result<Ruling, Failed> {
        self.0.decide(input, HashMap::new())
    }
}

/// All variables converted by serde, for each decision.
pub(crate) struct Converted(Policy);

impl Peer for Converted {
    fn new(settings: &Settings) -> Result<Self, Failed> {
        Policy::new(settings).map(Converted)
    }

    fn decide(&mut self, input: &Input) -> Result<Ruling, Failed> {
        self.0.decide(input, flat::converted(input)?)
    }
}

/// The expressions of the policy, and the environment that they are evaluated in.
struct Policy {
    root: Context<'static, 'static>,
    settings: Settings,
    exempt_domains: CelList<'static>,
    exempt_recipients: CelList<'static>,
    reason: Program,
    ruling: Program,
    verdict: Program,
    reply: Program,
    /// What these name.
    spf_word: Program,
    dkim_word: Program,
    spf_is_open: Program,
    dkim_is_open: Program,
}

impl Policy {
    fn new(settings: &Settings) -> Result<Self, Failed> {
        let mut env = Env::stdlib();
        env.add_extension(extensions::strings)?;
        let compile = |name: &str| {
            let source = POLICY.split("//= ").find_map(|part| part.strip_prefix(name)?.strip_prefix('\n'));
            let source = source.ok_or_else(|| format!("policy.cel has no part {name:?}"))?;
            env.compile(source).map_err(|error| Failed::from(format!("policy.cel, {name}: {error}")))
        };
        let [reason, ruling, verdict, reply] = [compile("reason")?, compile("ruling")?, compile("verdict")?, compile("reply")?];
        let [spf_word, dkim_word] = [compile("spf_word")?, compile("dkim_word")?];
        let [spf_is_open, dkim_is_open] = [compile("spf_is_open")?, compile("dkim_is_open")?];
        let mut root = Context::with_env(Arc::new(env));
        let networks = settings.networks.clone();
        root.add_function("within", move |client: Arc<String>, list: Arc<String>| networks.within(&client, &list))?;
        Ok(Policy {
            root,
            exempt_domains: strings(settings.exempt_domains.clone()),
            exempt_recipients: strings(settings.exempt_recipients.clone()),
            settings: settings.clone(),
            reason,
            ruling,
            verdict,
            reply,
            spf_word,
            dkim_word,
            spf_is_open,
            dkim_is_open,
        })
    }

    fn decide(&self, input: &Input, converted: HashMap<String, Box<dyn Val>>) -> Result<Ruling, Failed> {
        // Declared before the variables, which borrow them.
        let (reason, ruling);
        let mut variables = Variables::new(self, input, converted);
        reason = self.text(&self.reason, &variables)?;
        variables.reason = &reason;
        ruling = self.text(&self.ruling, &variables)?;
        variables.ruling = &ruling;
        let verdict = self.text(&self.verdict, &variables)?;
        let reply = if ruling == "refuse" { Some(self.reply(&variables)?) } else { None };
        let reason = word(&reason)?;
        Ok(match self.settings.mode {
            Mode::Enforce => Ruling { verdict: ruling::verdict(&verdict, reply)?, reason, would: None },
            Mode::Observe => {
                Ruling { verdict: ruling::verdict(&verdict, None)?, reason, would: Some(ruling::verdict(&ruling, reply)?) }
            }
        })
    }

    fn text(&self, program: &Program, variables: &Variables<'_>) -> Result<String, Failed> {
        let mut context = self.root.new_inner_scope();
        context.set_variable_resolver(variables);
        match Value::resolve_val(program.expression(), &context)?.downcast_ref::<CelString>() {
            Some(text) => Ok(text.inner().to_owned()),
            None => Err("expected a text".into()),
        }
    }

    fn reply(&self, variables: &Variables<'_>) -> Result<Reply, Failed> {
        let mut context = self.root.new_inner_scope();
        context.set_variable_resolver(variables);
        let value = Value::resolve_val(self.reply.expression(), &context)?;
        let map = value.downcast_ref::<CelMap>().ok_or("expected a map")?;
        let field = |name: &'static str| map.inner().get(&CelMapKey::from(name)).ok_or("expected a whole reply");
        let text = |value: &dyn Val| value.downcast_ref::<CelString>().map(|text| text.inner().to_owned());
        let code = field("code")?.downcast_ref::<CelInt>().ok_or("`code` is a number")?;
        let lines = field("lines")?.downcast_ref::<CelList>().ok_or("`lines` is a list")?;
        Ok(Reply {
            code: u16::try_from(*code.inner())?,
            enhanced_code: text(field("enhanced_code")?.as_ref()).ok_or("`enhanced_code` is a text")?,
            lines: lines.inner().iter().map(|line| text(line.as_ref())).collect::<Option<_>>().ok_or("a line is a text")?,
            close: *field("close")?.downcast_ref::<CelBool>().ok_or("`close` is a bool")?.inner(),
        })
    }
}

fn strings(list: Vec<String>) -> CelList<'static> {
    list.into_iter().map(|text| Box::new(CelString::from(text)) as Box<dyn Val>).collect::<Vec<_>>().into()
}

/// What the expressions can name.
struct Variables<'a> {
    policy: &'a Policy,
    input: &'a Input,
    /// Those that were converted before.
    converted: HashMap<String, Box<dyn Val>>,
    /// Lists are made at once: they may be asked for several times.
    recipients: CelList<'a>,
    dkim: Option<CelList<'a>>,
    reason: &'a str,
    ruling: &'a str,
    /// Evaluated when they are asked for, once.
    spf_word: OnceLock<String>,
    dkim_word: OnceLock<String>,
}

impl<'a> Variables<'a> {
    fn new(policy: &'a Policy, input: &'a Input, converted: HashMap<String, Box<dyn Val>>) -> Self {
        let recipients = input.envelope.iter().flat_map(|envelope| &envelope.recipients);
        let recipients: Vec<_> = recipients.map(|each| boxed(CelString::from(each.as_str()))).collect();
        let signatures = input.auth_results.as_ref().and_then(|results| results.dkim.as_ref());
        let dkim = signatures.map(|signatures| {
            let fields = signatures.iter().map(|signature| {
                boxed(CelMap::from(HashMap::from([
                    ("result".into(), boxed(CelString::from(signature.result.as_str()))),
                    ("domain".into(), boxed(CelString::from(signature.domain.as_str()))),
                    ("testing".into(), boxed(CelBool::from(signature.testing))),
                ])))
            });
            fields.collect::<Vec<_>>().into()
        });
        let (spf_word, dkim_word) = Default::default();
        Variables { policy, input, converted, recipients: recipients.into(), dkim, reason: "", ruling: "", spf_word, dkim_word }
    }
}

impl Variables<'_> {
    /// A variable that is an expression itself. One that fails is not there.
    fn value(&self, program: &Program) -> Option<CowVal<'_, '_>> {
        let mut context = self.policy.root.new_inner_scope();
        context.set_variable_resolver(self);
        Some(CowVal::Owned(Value::resolve_val(program.expression(), &context).ok()?.into_owned()))
    }

    fn word<'b>(&'b self, cell: &'b OnceLock<String>, program: &Program) -> Option<CowVal<'b, 'b>> {
        if cell.get().is_none() {
            let _ = cell.set(self.policy.text(program, self).ok()?);
        }
        cell.get().map(|word| text(word))
    }
}

fn boxed<'v>(value: impl Val + 'v) -> Box<dyn Val + 'v> {
    Box::new(value)
}

impl VariableResolver for Variables<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        if let Some(value) = self.converted.get(name) {
            return Some(CowVal::Borrowed(value.as_ref()));
        }
        let Variables { policy: Policy { settings, exempt_domains, exempt_recipients, .. }, input, .. } = self;
        let Input { connection, facts, .. } = input;
        let (envelope, results) = (input.envelope.as_ref(), input.auth_results.as_ref());
        let [spf, helo] = [results.and_then(|all| all.spf_mail_from.as_ref()), results.and_then(|all| all.spf_helo.as_ref())];
        let dmarc = results.and_then(|results| results.dmarc.as_ref());
        Some(match name {
            "stage" => text(ruling::stage(connection.stage)),
            "client" => text(&input.client),
            "prefix" => text(&input.prefix),
            "listener" => text(ruling::listener(connection.listener)),
            "authenticated" => flag(connection.authenticated),
            "reachable_over_ipv4" => flag(connection.reachable_over_ipv4),
            "listener_offers" => flag(connection.listener_offers),
            "acknowledged" => flag(connection.acknowledged),
            "now" => number(connection.now),
            "mail_from" => optional(envelope, |envelope| text(&envelope.mail_from)),
            "recipients" => CowVal::Borrowed(&self.recipients),
            "has_results" => flag(results.is_some_and(|results| !results.is_empty())),
            "spf_mail_from" => optional(spf, |spf| outcome(spf.result)),
            "spf_mail_from_domain" => optional(spf, |spf| text(&spf.domain)),
            "spf_helo" => optional(helo, |spf| outcome(spf.result)),
            "spf_helo_domain" => optional(helo, |spf| text(&spf.domain)),
            "dkim" => self.dkim.as_ref().map_or(CowVal::owned(CelNull), |list| CowVal::Borrowed(list)),
            "dmarc" => optional(dmarc, |dmarc| outcome(dmarc.result)),
            "dmarc_domain" => optional(dmarc, |dmarc| text(&dmarc.domain)),
            "refuse_until" => optional(facts.penalty.as_ref(), |penalty| number(penalty.refuse_until)),
            "last_failure" => optional(facts.penalty.as_ref(), |penalty| number(penalty.last_failure)),
            "penalty_simulated" => optional(facts.penalty.as_ref(), |penalty| flag(penalty.simulated)),
            "capable_at" => optional(facts.capable_at.as_ref(), |&time| number(time)),
            "incapable_at" => optional(facts.incapable_at.as_ref(), |&time| number(time)),
            "passed" => CowVal::owned(CelDouble::from(facts.passed)),
            "failed" => CowVal::owned(CelDouble::from(facts.failed)),
            "temporary_since" => since(facts.temporary.as_ref()),
            "temporary_count" => count(facts.temporary.as_ref()),
            "temporary_48_since" => since(facts.temporary_48.as_ref()),
            "temporary_48_count" => count(facts.temporary_48.as_ref()),
            "mode" => text(match settings.mode {
                Mode::Enforce => "enforce",
                Mode::Observe => "observe",
            }),
            "url" => optional(settings.url.as_ref(), |url| text(url)),
            "exempt_domains" => CowVal::Borrowed(exempt_domains),
            "exempt_recipients" => CowVal::Borrowed(exempt_recipients),
            "any_recipient" => flag(settings.any_recipient),
            "greeting_code" => number(settings.greeting_code.into()),
            "later_code" => number(settings.later_code.into()),
            "temporary_per_network" => number(settings.temporary_per_network.into()),
            "temporary_per_48" => number(settings.temporary_per_48.into()),
            "reason" => text(self.reason),
            "ruling" => text(self.ruling),
            "spf_word" => self.word(&self.spf_word, &self.policy.spf_word)?,
            "dkim_word" => self.word(&self.dkim_word, &self.policy.dkim_word)?,
            "spf_is_open" => self.value(&self.policy.spf_is_open)?,
            "dkim_is_open" => self.value(&self.policy.dkim_is_open)?,
            _ => return None,
        })
    }
}

fn text<'b>(text: &'b str) -> CowVal<'b, 'b> {
    CowVal::owned(CelString::from(text))
}

fn outcome<'b>(result: AuthResult) -> CowVal<'b, 'b> {
    text(result.as_str())
}

fn flag<'b>(flag: bool) -> CowVal<'b, 'b> {
    CowVal::owned(CelBool::from(flag))
}

fn number<'b>(number: u64) -> CowVal<'b, 'b> {
    CowVal::owned(CelInt::from(i64::try_from(number).unwrap_or(i64::MAX)))
}

fn since<'b>(counted: Option<&Counted>) -> CowVal<'b, 'b> {
    optional(counted, |counted| number(counted.since))
}

fn count<'b>(counted: Option<&Counted>) -> CowVal<'b, 'b> {
    optional(counted, |counted| number(counted.count.into()))
}

fn optional<'b, 't, T>(value: Option<&'t T>, of: impl FnOnce(&'t T) -> CowVal<'b, 'b>) -> CowVal<'b, 'b> {
    value.map_or_else(|| CowVal::owned(CelNull), of)
}
