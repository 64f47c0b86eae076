//! Other people's clients: openssl, and a Postfix that sends.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};

use smtp_fallback_demo::zone::{PLAIN_DOMAIN, SPF_DOMAIN};
use smtp_fallback_interop::{Postfix, Setting, Setup, Smtpd, kept_as, until};

use crate::{RECIPIENT, all, message, session};

/// The name in smtpd's certificate.
const NAME: &str = "mx.demo.example";

/// With a certificate of its own, which is left beside the configuration as `certificate.pem`.
fn with_certificate(mut setting: Setting) -> (Setting, String) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let certificate = made.cert.pem();
    setting.files.push(("certificate.pem", certificate.clone()));
    setting.files.push(("key.pem", made.signing_key.serialize_pem()));
    (setting.and("\n[tls]\ncertificate = \"certificate.pem\"\nkey = \"key.pem\"\n"), certificate)
}

/// What openssl makes of the server, with `dialogue` sent once TLS is in use.
fn openssl(smtpd: &Smtpd, address: SocketAddr, arguments: &[&str], dialogue: &str) -> Output {
    let mut command = Command::new("openssl");
    command.args([
        "s_client",
        "-starttls",
        "smtp",
        "-name",
        "client.example",
        "-brief",
        "-ign_eof",
        "-crlf",
        "-verify_return_error",
    ]);
    command.arg("-connect").arg(address.to_string()).arg("-CAfile").arg(smtpd.path().join("certificate.pem")).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may have ended already.
    let _ = child.stdin.take().unwrap().write_all(dialogue.as_bytes());
    child.wait_with_output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn starttls_by_openssl() {
    let smtpd = Smtpd::start(with_certificate(Setting::maildir()).0).await;
    let dialogue = format!(
        "EHLO client.example\nMAIL FROM:<smith@none.example>\nRCPT TO:<{RECIPIENT}>\nDATA\nSubject: by openssl\n\nText\n.\nQUIT\n"
    );
    for (version, arguments) in [("TLSv1.3", ["-tls1_3"]), ("TLSv1.2", ["-tls1_2"])] {
        for address in [smtpd.ipv6, smtpd.ipv4] {
            let output = openssl(&smtpd, address, &[&arguments[..], &["-verify_hostname", NAME]].concat(), &dialogue);
            let (said, heard) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
            assert!(output.status.success(), "{said}");
            for part in [&format!("Protocol version: {version}"), "Verification: OK", &format!("Verified peername: {NAME}")] {
                assert!(said.contains(part), "{part}:\n{said}");
            }
            assert!(heard.contains("250 2.0.0 OK, kept as ") && heard.contains("221 2.0.0"), "{heard}");
            assert!(!heard.contains("STARTTLS"), "{heard}");
        }
    }
    let kept = smtpd.delivered();
    assert_eq!(kept.len(), 4);
    assert!(kept.iter().all(|kept| String::from_utf8_lossy(kept).contains(" with ESMTPS id ")));
    assert_eq!(kept.iter().filter(|kept| String::from_utf8_lossy(kept).contains("(using TLSv1.2 ")).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_openssl_does_not_accept_or_get() {
    let smtpd = Smtpd::start(with_certificate(Setting::maildir()).0).await;
    for (arguments, reason) in [
        (&["-verify_hostname", "other.example"][..], "ostname mismatch"),
        // Versions that are no longer to be used (RFC 8996).
        (&["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"], "SSL alert number"),
        (&["-tls1", "-cipher", "DEFAULT@SECLEVEL=0"], "SSL alert number"),
    ] {
        let output = openssl(&smtpd, smtpd.ipv6, arguments, "QUIT\n");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(reason), "{arguments:?}: {said}");
    }
    smtpd.logged(&["tls-failure"]);
    assert_eq!(smtpd.send(smtpd.ipv6, "smith@none.example", &message(1)).await.code, 250, "and it goes on");
}

/// A Postfix that takes mail from 127.0.0.1 and sends what is for demo.example to the first of `route` that takes it.
fn sending(route: &str, certificate: &str) -> Postfix {
    let setup = Setup::new()
        .with("myhostname", "client.example")
        .with("virtual_mailbox_domains", "")
        .file("transport", &format!("demo.example smtp:{route}\n"))
        .with("transport_maps", "texthash:$config_directory/transport")
        .file("authorities.pem", certificate)
        .with("smtp_tls_CAfile", "$config_directory/authorities.pem")
        .with("smtp_tls_security_level", "may")
        .with("smtp_tls_loglevel", "1");
    Postfix::start(setup)
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_from_postfix_arrives_under_tls() {
    let (setting, certificate) = with_certificate(Setting::maildir().enforcing());
    let smtpd = Smtpd::start(setting).await;
    let sender = sending(&format!("[::1]:{}", smtpd.ipv6.port()), &certificate);
    let mut client = session(sender.address()).await;
    let bodies: [Vec<u8>; 3] = [
        message(1),
        [&message(2)[..], b".\r\n..\r\n\xc3\xa9 \xff\r\n"].concat(),
        [&message(3)[..], &format!("{}\r\n", "x".repeat(98)).into_bytes().repeat(3000)].concat(),
    ];
    for body in &bodies {
        all(&mut client, 250, &[&format!("MAIL FROM:<smith@{SPF_DOMAIN}> BODY=8BITMIME"), "RCPT TO:<jones@demo.example>"]).await;
        all(&mut client, 354, &["DATA"]).await;
        assert_eq!(client.message(body).await.unwrap().code, 250);
    }
    sender.delivered();
    let kept = smtpd.delivered();
    assert_eq!(kept.len(), bodies.len(), "{}", sender.log());
    for body in &bodies {
        let kept = kept.iter().find(|kept| kept.ends_with(body)).expect("unchanged");
        let fields = String::from_utf8_lossy(&kept[..kept.len() - body.len()]);
        assert!(fields.contains("Received: from client.example ([IPv6:::1])\r\n\t(using TLSv1.3 "), "{fields}");
        assert!(fields.contains(" with ESMTPS id "), "{fields}");
    }
    let log = sender.log();
    assert_eq!(log.matches("status=sent (250 2.0.0 OK, kept as ").count(), bodies.len(), "{log}");
    sender.logged(&["Trusted TLS connection established to ::1[::1]", "TLSv1.3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn postfix_falls_back_to_ipv4_at_once() {
    // All three together: a Postfix that sends, smtpd, and a Postfix that receives.
    let receiver = Postfix::start(Setup::for_xclient());
    let (setting, certificate) = with_certificate(Setting::front(receiver.address(), "xclient").enforcing());
    let smtpd = Smtpd::start(setting).await;
    let route = format!("[::1]:{}, [127.0.0.1]:{}", smtpd.ipv6.port(), smtpd.ipv4.port());
    let sender = sending(&route, &certificate);
    let mut client = session(sender.address()).await;
    for (number, domain) in [(1, SPF_DOMAIN), (2, PLAIN_DOMAIN)] {
        let reply = client.transaction(&format!("smith@{domain}"), RECIPIENT, &message(number)).await.unwrap();
        assert_eq!(reply.code, 250, "{reply}");
        // What is put off would go to the queue of the deferred, and stay there for minutes.
        until("it has left", || if sender.queue().is_empty() { Ok(()) } else { Err(sender.log()) });
    }
    let kept = receiver.delivered();
    assert_eq!(kept.len(), 2, "{}", receiver.log());
    for (number, literal) in [(1, "[IPv6:::1]"), (2, "[127.0.0.1]")] {
        let kept = kept.iter().find(|kept| kept.ends_with(&kept_as(&message(number)))).expect("unchanged");
        let fields = String::from_utf8_lossy(kept);
        assert!(fields.contains(&format!("Received: from client.example (unknown {literal})")), "{fields}");
    }
    let log = sender.log();
    assert!(!log.contains("status=deferred"), "{log}");
    assert_eq!(log.matches("status=sent").count(), 2, "{log}");
    sender.logged(&["relay=::1[::1]", "status=sent"]);
    sender.logged(&["relay=127.0.0.1[127.0.0.1]", "status=sent"]);
    sender.logged(&["host ::1[::1] said: 421-4.4.8"]);
    smtpd.logged(&["verdict=\"refuse\"", "code=421", PLAIN_DOMAIN]);
}
