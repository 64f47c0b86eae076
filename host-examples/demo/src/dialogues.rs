//! The dialogues of the draft's appendix A, played against a running server.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::client::{Client, ClientError, Reply};
use crate::sign::{Algorithm, signed};
use crate::zone::{PLAIN_DOMAIN, RECEIVING_DOMAIN, SIGNED_DOMAIN};

/// The extension's keyword and verb (draft §5.2).
const VERB: &str = "IPV6-IPV4-FALLBACK";
/// The enhanced code of refusals that ask for IPv4 (draft §5.3).
const ENHANCED_CODE: &str = "4.4.8";
/// With the default confidence, 7 failures are the least that prove anything (A6): the first scene's and so many more.
const LEAST_FAILURES: usize = 6;
/// Some passes are between them, so that it takes more than 7; but not so many.
const MOST_FAILURES: usize = 25;
/// How long to wait for a penalty to expire, which the demo's policy ends after 3 s.
const EXPIRY: Duration = Duration::from_secs(20);

/// The listeners of one server with the demo's policy and name server, and without records of earlier mail.
#[derive(Clone, Copy, Debug)]
pub struct Listeners {
    /// On `[::1]`, announcing the extension.
    pub ipv6: SocketAddr,
    /// On `127.0.0.1`.
    pub ipv4: SocketAddr,
}

/// A scene that went otherwise than it should.
#[derive(Debug, thiserror::Error)]
#[error("scene \"{scene}\": {problem}")]
pub struct SceneError {
    /// Its heading.
    pub scene: &'static str,
    /// What was expected, and what came.
    pub problem: String,
}

/// Plays all scenes; `show` is handed the text of each as it ends, and of the one that fails. Returns how many messages the
/// server accepted: so many have to be in its Maildir then, for what it refuses it discards (R8).
///
/// The order matters, because all clients here are of one network: what passes ends a penalty, and a session that has issued
/// the verb makes its network capable, which is never refused at the greeting (A5). So the verb comes last.
pub async fn play(listeners: Listeners, mut show: impl FnMut(&str)) -> Result<usize, SceneError> {
    let mut stage = Stage { listeners, text: String::new(), mails: 0, accepted: 0 };
    for scene in [Scene::ComesBack, Scene::Signed, Scene::Greeting, Scene::Expiry, Scene::Verb] {
        let heading = scene.heading();
        stage.text = format!("== {heading}\n");
        let played = match scene {
            Scene::ComesBack => stage.comes_back_over_ipv4().await,
            Scene::Signed => stage.signed_mail().await,
            Scene::Greeting => stage.refused_at_the_greeting().await,
            Scene::Expiry => stage.evaluated_again().await,
            Scene::Verb => stage.with_the_verb().await,
        };
        show(&stage.text);
        played.map_err(|problem| SceneError { scene: heading, problem: problem.0 })?;
    }
    Ok(stage.accepted)
}

#[derive(Clone, Copy)]
enum Scene {
    ComesBack,
    Signed,
    Greeting,
    Expiry,
    Verb,
}

impl Scene {
    fn heading(self) -> &'static str {
        match self {
            Scene::ComesBack => "Mail without SPF or DKIM is refused over IPv6, and arrives over IPv4 (A.1, A.3.2)",
            Scene::Signed => "Mail with a DKIM signature is accepted over IPv6",
            Scene::Greeting => "After much mail that fails, the greeting is the refusal (A.3.2)",
            Scene::Expiry => "After a while, mail is evaluated again",
            Scene::Verb => "A client with the extension keeps its session (A.2)",
        }
    }
}

struct Stage {
    listeners: Listeners,
    text: String,
    /// How many messages were written: each has a Message-ID of its own, for the same mail twice is no new evidence (A6).
    mails: usize,
    /// How many were answered 250.
    accepted: usize,
}

/// What a scene expected and what came.
struct Problem(String);

impl From<ClientError> for Problem {
    fn from(error: ClientError) -> Problem {
        Problem(error.to_string())
    }
}

impl Stage {
    async fn comes_back_over_ipv4(&mut self) -> Result<(), Problem> {
        let (sender, mail) = self.plain_mail();
        let refusal = async |client: &mut Client| {
            open(client).await?;
            refused(421, &client.transaction(&sender, &recipient(), &mail).await?)?;
            // A41: the connection is closed; a QUIT that comes all the same does no harm.
            client.send(b"QUIT\r\n").await?;
            Ok(client.closed().await?)
        };
        self.session(self.listeners.ipv6, refusal).await?;
        self.over_ipv4(&sender, &mail).await
    }

    async fn signed_mail(&mut self) -> Result<(), Problem> {
        let (sender, mail) = self.signed();
        self.session(self.listeners.ipv6, async |client| open_and_deliver(client, &sender, &mail).await).await
    }

    async fn refused_at_the_greeting(&mut self) -> Result<(), Problem> {
        for failures in 0..MOST_FAILURES {
            let (sender, mail) = self.plain_mail();
            let length = self.text.len();
            let greeted = async |client: &mut Client| {
                let greeting = client.reply().await?;
                if greeting.code != 220 {
                    refused(451, &greeting)?;
                    client.closed().await?;
                    return Ok(false);
                }
                expect(250, &client.command(&hello()).await?)?;
                refused(421, &client.transaction(&sender, &recipient(), &mail).await?)?;
                client.closed().await?;
                Ok(true)
            };
            if !self.session(self.listeners.ipv6, greeted).await? {
                if failures < LEAST_FAILURES {
                    return Err(Problem(format!(
                        "451 after {failures} more failures, expected at least {LEAST_FAILURES} (P6, A6)"
                    )));
                }
                let remark = format!("({failures} more messages like the first: each 421 over IPv6, 250 over IPv4)\n\n");
                self.text.insert_str(length, &remark);
                return Ok(());
            }
            self.session(self.listeners.ipv4, async |client| open_and_deliver(client, &sender, &mail).await).await?;
            // All is as it should be: no need to show that again.
            self.text.truncate(length);
        }
        Err(Problem(format!("{MOST_FAILURES} messages failed, and the greeting is still 220; 451 was expected by then")))
    }

    async fn evaluated_again(&mut self) -> Result<(), Problem> {
        let (sender, mail) = self.signed();
        let start = Instant::now();
        while start.elapsed() < EXPIRY {
            let length = self.text.len();
            let accepted = async |client: &mut Client| {
                let greeting = client.reply().await?;
                if greeting.code == 451 {
                    return Ok(false);
                }
                expect(220, &greeting)?;
                deliver(client, &sender, &mail).await?;
                Ok(true)
            };
            if self.session(self.listeners.ipv6, accepted).await? {
                self.text.insert_str(length, &format!("(waited {:.1} s)\n\n", start.elapsed().as_secs_f32()));
                return Ok(());
            }
            self.text.truncate(length);
            sleep(Duration::from_millis(250)).await;
        }
        Err(Problem(format!("the greeting was still 451 after {} s; the penalty should have expired", EXPIRY.as_secs())))
    }

    async fn with_the_verb(&mut self) -> Result<(), Problem> {
        let (sender, mail) = self.plain_mail();
        let (signed_sender, signed_mail) = self.signed();
        let session = async |client: &mut Client| {
            let ehlo = open(client).await?;
            if !ehlo.announces(VERB) {
                return Err(Problem(format!("expected {VERB} in the reply to EHLO, found \"{ehlo}\"")));
            }
            expect(250, &client.command(VERB).await?)?;
            refused(456, &client.transaction(&sender, &recipient(), &mail).await?)?;
            // P19: the refusal is for one message, and the session goes on.
            expect(250, &client.transaction(&signed_sender, &recipient(), &signed_mail).await?)?;
            quit(client).await
        };
        self.session(self.listeners.ipv6, session).await?;
        self.over_ipv4(&sender, &mail).await
    }

    /// The same mail, on the way that the refusal asked for.
    async fn over_ipv4(&mut self, sender: &str, mail: &[u8]) -> Result<(), Problem> {
        let session = async |client: &mut Client| {
            let ehlo = open(client).await?;
            if ehlo.announces(VERB) {
                return Err(Problem(format!("expected no {VERB} over IPv4 (A23), found \"{ehlo}\"")));
            }
            expect(250, &client.transaction(sender, &recipient(), mail).await?)?;
            quit(client).await
        };
        self.session(self.listeners.ipv4, session).await
    }

    /// Connects, and adds what was said to the scene's text, however it ended.
    async fn session<T>(
        &mut self,
        server: SocketAddr,
        talk: impl AsyncFnOnce(&mut Client) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let mut client = Client::connect(server).await?;
        let talked = talk(&mut client).await;
        self.accepted +=
            client.transcript().windows(2).filter(|lines| lines[0] == "C: ." && lines[1].starts_with("S: 250")).count();
        self.note(&client);
        talked
    }

    fn note(&mut self, client: &Client) {
        for line in client.transcript() {
            let _ = writeln!(self.text, "{line}");
        }
        self.text.push('\n');
    }

    fn plain_mail(&mut self) -> (String, Vec<u8>) {
        self.mail(PLAIN_DOMAIN)
    }

    fn signed(&mut self) -> (String, Vec<u8>) {
        let (sender, mail) = self.mail(SIGNED_DOMAIN);
        (sender, signed(&mail, Algorithm::Rsa).expect("the demo's message and key are well-formed"))
    }

    /// Sender and text.
    fn mail(&mut self, domain: &str) -> (String, Vec<u8>) {
        self.mails += 1;
        let number = self.mails;
        let sender = format!("smith@{domain}");
        let text = format!(
            "From: Smith <{sender}>\r\nTo: Jones <{}>\r\nSubject: Message {number}\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\n\
             Message-ID: <{number}@{domain}>\r\n\r\nHello, Jones.\r\n",
            recipient()
        );
        (sender, text.into_bytes())
    }
}

fn recipient() -> String {
    format!("jones@{RECEIVING_DOMAIN}")
}

fn hello() -> String {
    format!("EHLO client.{PLAIN_DOMAIN}")
}

/// Greeting and EHLO; the reply to the latter.
async fn open(client: &mut Client) -> Result<Reply, Problem> {
    expect(220, &client.reply().await?)?;
    let ehlo = client.command(&hello()).await?;
    expect(250, &ehlo)?;
    Ok(ehlo)
}

/// A whole session with one message that is accepted.
async fn open_and_deliver(client: &mut Client, sender: &str, mail: &[u8]) -> Result<(), Problem> {
    expect(220, &client.reply().await?)?;
    deliver(client, sender, mail).await
}

/// The rest of it, after the greeting.
async fn deliver(client: &mut Client, sender: &str, mail: &[u8]) -> Result<(), Problem> {
    expect(250, &client.command(&hello()).await?)?;
    expect(250, &client.transaction(sender, &recipient(), mail).await?)?;
    quit(client).await
}

async fn quit(client: &mut Client) -> Result<(), Problem> {
    expect(221, &client.command("QUIT").await?)?;
    Ok(client.closed().await?)
}

fn expect(code: u16, reply: &Reply) -> Result<(), Problem> {
    if reply.code == code { Ok(()) } else { Err(Problem(format!("expected {code}, found \"{reply}\""))) }
}

/// P3, P5, A39: each line has the enhanced code.
fn refused(code: u16, reply: &Reply) -> Result<(), Problem> {
    if reply.code == code && reply.has_enhanced_code(ENHANCED_CODE) {
        Ok(())
    } else {
        Err(Problem(format!("expected {code} with {ENHANCED_CODE} on each line, found \"{reply}\"")))
    }
}
