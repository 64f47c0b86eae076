//! Postfix's smtpd with opendkim and policyd-spf.

use std::error::Error;
use std::fs;
use std::path::Path;

use super::server::{Parts, Server};
use crate::inside::filter::{ASK_POLICYD, Filter, Policyd};
use crate::inside::load::{UNAUTHENTICATED, client};
use crate::inside::place::SERVER;
use crate::inside::postfix::Postfix;

const PORT: u16 = 2611;
/// A service of its own for connections that wait: each has a process, and by default there are no more than 100.
const IDLE: u16 = 2612;
const REFUSING: u16 = 2613;
const POSTSCREEN: u16 = 2614;

/// Starts it.
pub(crate) fn start(groups: &Path, folder: &Path) -> Result<Server, Box<dyn Error>> {
    let (opendkim, policyd) = (Filter::opendkim(groups, folder)?, Policyd::new(groups, folder)?);
    let refused = folder.join("refused.cidr");
    // No name is looked up before a refusal, no filter is told of it, and the reply closes the connection: the least that it can be.
    let services = format!(
        "[{SERVER}]:{PORT} inet n - n - 100 smtpd\n  -o smtpd_milters=unix:{socket}\n{ASK_POLICYD}\
         [{SERVER}]:{IDLE} inet n - n - 1100 smtpd\n  -o smtpd_milters=unix:{socket}\n{ASK_POLICYD}\
         [{SERVER}]:{REFUSING} inet n - n - 100 smtpd\n  -o smtpd_delay_reject=no\n  -o smtpd_peername_lookup=no\n  \
         -o smtpd_client_restrictions=check_client_access,cidr:{refused}\n\
         [{SERVER}]:{POSTSCREEN} inet n - n - 1 postscreen\n\
         smtpd pass - - n - - smtpd\n\
         dnsblog unix - - n - 0 dnsblog\n\
         tlsproxy unix - - n - 0 tlsproxy\n\
         {policyd}",
        socket = opendkim.socket.display(),
        refused = refused.display(),
        policyd = policyd.service(),
    );
    let network = client(UNAUTHENTICATED);
    fs::write(&refused, format!("{network}/128 421 4.4.8 come back over IPv4\n"))?;
    let screened = folder.join("screened.cidr");
    fs::write(&screened, format!("{network}/128 reject\n"))?;
    // More clients may wait for one of the 100 processes than by default, since they are not told how many there are.
    let parameters = format!(
        "default_process_limit = 1100\npostscreen_access_list = cidr:{}\npostscreen_denylist_action = drop\n",
        screened.display()
    );
    let postfix = Postfix::start(groups, folder, &services, &parameters)?;
    let groups = vec![postfix.group().clone(), opendkim.group.clone(), policyd.group];
    Ok(Server {
        name: "Postfix",
        port: PORT,
        idle_port: IDLE,
        connections: 1000,
        refusing: vec![("Postfix smtpd", REFUSING, "4.4.8"), ("postscreen", POSTSCREEN, "521 5.3.2")],
        proof: &["Received-SPF: Pass", "dkim=pass"],
        groups,
        log: folder.join("postfix/mail.log"),
        parts: Parts::Postfix(postfix, opendkim),
    })
}
