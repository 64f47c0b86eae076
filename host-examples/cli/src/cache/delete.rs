//! `cache delete`: forgetting.

use smtp_fallback_policy::contract::RecordUpdate;

use super::get;
use crate::fail::Fail;
use crate::host::Host;
use crate::output::Output;
use crate::target::Target;
use crate::words::heading;

pub(super) async fn run(target: Target, host: &Host) -> Result<(), Fail> {
    let mut output = Output::new();
    let mut deleted = 0;
    for key in get::keys(target, host).await? {
        let removed = host
            .change(key, |found, _| Ok(found.map(|_| RecordUpdate { key, value: Vec::new(), expires_in: 0, weight: 0 })))
            .await?;
        if removed.is_some() {
            deleted += 1;
            output.line(&format!("deleted the record of {}", heading(&key)))?;
        }
    }
    output.finish()?;
    if deleted == 0 {
        return Err(Fail::NotFound(format!("nothing is known about {target}")));
    }
    host.remark_if_alone("what other hosts know then may come back, so look again with `cache get`").await;
    Ok(())
}
