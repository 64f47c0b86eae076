//! Smuggling: a message that one server reads as one, and the next as two.
//!
//! The Postfix here has all its protections off, and is shown to be open to it first.

use smtp_fallback_demo::client::Client;
use smtp_fallback_interop::{Postfix, Setting, Setup, Smtpd, kept_as};

use crate::{RECIPIENT, TOLD, all, by_bdat, message, session};

/// What somebody may take for the end of a message.
const ENDS: [&str; 22] = [
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r",
    "\r\n.\r",
    "\r.\r\n",
    "\r.\n",
    "\n.\r",
    "\n\n.\r\n",
    "\n\n.\n",
    "\r\r\n.\r\n",
    "\r\n.\r\r\n",
    "\r\n\0.\r\n",
    "\r\n.\0\r\n",
    "\r\n.\r\0\n",
    "\r\0\n.\r\n",
    "\n.\0\n",
    "\n\0.\n",
    "\r\n.\r\n\0",
    "\r\n\r.\r\n",
    "\r\n.\n\r\n",
    "\n",
];

/// Those by which this Postfix is open to it.
const OPEN: [&str; 5] = ["\n.\n", "\n.\r\n", "\r\n.\n", "\n\n.\r\n", "\n\n.\n"];

fn unprotected(tell: &str) -> Setup {
    Setup::told_by(tell)
        .with("smtpd_forbid_bare_newline", "no")
        .with("smtpd_data_restrictions", "")
        .with("smtpd_forbid_unauth_pipelining", "no")
        // Else it loses patience with the mistakes, and part of the table shows nothing.
        .with("smtpd_soft_error_limit", "1000")
        .with("smtpd_hard_error_limit", "1001")
}

/// A message with `end` in it, and a whole transaction behind that.
fn smuggled(end: &str) -> Vec<u8> {
    format!(
        "Subject: outer\r\n\r\nText{end}MAIL FROM:<evil@none.example>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n\
         Subject: smuggled\r\n\r\nText\r\n"
    )
    .into_bytes()
}

async fn begun(client: &mut Client) {
    all(client, 250, &["MAIL FROM:<smith@none.example>", "RCPT TO:<jones@demo.example>"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn this_postfix_is_open_to_it() {
    let postfix = Postfix::start(unprotected("nothing"));
    for (before, end) in OPEN.iter().enumerate() {
        let mut client = session(postfix.address()).await;
        begun(&mut client).await;
        all(&mut client, 354, &["DATA"]).await;
        client.send(&[&smuggled(end)[..], b".\r\nNOOP\r\n"].concat()).await.unwrap();
        // The replies to two messages: the end of the first, MAIL, RCPT, DATA, the end of the second, NOOP.
        for code in [250, 250, 250, 354, 250, 250] {
            let reply = client.reply().await.unwrap();
            assert_eq!(reply.code, code, "{end:?}: {reply}");
        }
        assert_eq!(postfix.delivered().len(), 2 * (before + 1), "{end:?}");
    }
    let evil = |kept: &&Vec<u8>| kept.starts_with(b"Return-Path: <evil@none.example>");
    assert_eq!(postfix.delivered().iter().filter(evil).count(), OPEN.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_smuggled_through_smtpd() {
    for tell in TOLD {
        let postfix = Postfix::start(unprotected(tell));
        let smtpd = Smtpd::start(Setting::front(postfix.address(), tell)).await;
        for end in ENDS {
            let mut client = smtpd.client(smtpd.ipv6).await;
            begun(&mut client).await;
            all(&mut client, 354, &["DATA"]).await;
            client.send(&[&smuggled(end)[..], b".\r\n"].concat()).await.unwrap();
            // "\r\n.\r\n" is the true end, whatever comes behind it.
            let reply = client.reply().await.unwrap();
            let expected = if end == "\r\n.\r\n\0" { 250 } else { 550 };
            assert_eq!(reply.code, expected, "{end:?}: {reply}");
            // A session that is closed, or one that is as if nothing had been.
            let _ = client.command("QUIT").await;

            for chunk in [1, 3, 1 << 20] {
                let mut client = smtpd.client(smtpd.ipv6).await;
                begun(&mut client).await;
                let reply = by_bdat(&mut client, &smuggled(end), chunk).await;
                assert_eq!(reply.code, 550, "{end:?}, chunks of {chunk}: {reply}");
            }
        }
        // The dot of BDAT is a line like another.
        let mut client = smtpd.client(smtpd.ipv6).await;
        for chunk in [1, 3, 1 << 20] {
            begun(&mut client).await;
            let reply = by_bdat(&mut client, &smuggled("\r\n.\r\n"), chunk).await;
            assert_eq!(reply.code, 250, "{reply}");
        }
        let kept = postfix.delivered();
        assert_eq!(kept.len(), 4, "the one with the true end, and those with the dot\n{}", postfix.log());
        let outer = |kept: &Vec<u8>| kept.starts_with(b"Return-Path: <smith@none.example>");
        assert!(kept.iter().all(outer));
        let with_dot = |kept: &&Vec<u8>| kept.ends_with(&kept_as(&smuggled("\r\n.\r\n")));
        assert_eq!(kept.iter().filter(with_dot).count(), 3, "{}", String::from_utf8_lossy(&kept[1]));
        assert!(!postfix.log().contains("evil@"), "{}", postfix.log());
        let reply = smtpd.send(smtpd.ipv6, "smith@none.example", &message(1)).await;
        assert_eq!(reply.code, 250, "{reply}");
    }
}
