//! Who may call a function: statements of its policy.

use std::sync::Arc;

use fractus_lambda::control::{Constraint, Qualifier, ServiceError};
use fractus_lambda::limits::{POLICY_MAX, STATEMENT_ID_MAX};
use fractus_lambda::model::{Permission, Policy, UrlAuth};
use fractus_lambda::sigv4::body_sha256;
use serde::Deserialize;
use serde_json::json;

use super::answer::{attach_error, check_revision, done, or_latest, read, told};
use super::functions::uuid;
use super::{Answer, Api, Call};

/// The body of `AddPermission`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Add {
    statement_id: Option<String>,
    action: Option<String>,
    principal: Option<String>,
    source_arn: Option<String>,
    source_account: Option<String>,
    function_url_auth_type: Option<String>,
    invoked_via_function_url: Option<bool>,
    #[serde(rename = "PrincipalOrgID")]
    principal_org_id: Option<String>,
    event_source_token: Option<String>,
    revision_id: Option<String>,
}

fn missing() -> ServiceError {
    ServiceError::not_found("The resource you requested does not exist.")
}

pub(super) fn revision_id(policy: &Policy, arn: &str) -> String {
    uuid(body_sha256(policy.document(arn).to_string().as_bytes()))
}

impl Add {
    fn permission(self) -> Result<Permission, ServiceError> {
        let null = |member| ServiceError::constraint(member, "", Constraint::NotNull);
        let id = self.statement_id.ok_or_else(|| null("statementId"))?;
        check_statement_id(&id)?;
        let action = self.action.ok_or_else(|| null("action"))?;
        let verb = action.strip_prefix("lambda:");
        let is_action = action == "*"
            || verb.is_some_and(|verb| {
                verb == "*" || (!verb.is_empty() && verb.bytes().all(|b| b.is_ascii_alphabetic()))
            });
        if !is_action {
            let pattern = Constraint::Pattern("(lambda:[*]|lambda:[a-zA-Z]+|[*])");
            return Err(ServiceError::constraint("action", &action, pattern));
        }
        let principal = self.principal.ok_or_else(|| null("principal"))?;
        if principal.is_empty() || principal.contains(char::is_whitespace) {
            let pattern = Constraint::Pattern("[^\\s]+");
            return Err(ServiceError::constraint("principal", &principal, pattern));
        }
        let url_auth = self.function_url_auth_type.as_deref();
        let url_auth = url_auth
            .map(|auth| self::url_auth("functionUrlAuthType", auth))
            .transpose()?;
        if let Some(arn) = &self.source_arn
            && (!arn.starts_with("arn:") || arn.split(':').count() < 6)
        {
            let pattern = Constraint::Pattern("arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\\-])+:(.*)");
            return Err(ServiceError::constraint("sourceArn", arn, pattern));
        }
        if let Some(account) = &self.source_account
            && (account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()))
        {
            let pattern = Constraint::Pattern("\\d{12}");
            return Err(ServiceError::constraint("sourceAccount", account, pattern));
        }
        if url_auth.is_some() && action != "lambda:InvokeFunctionUrl" {
            return Err(ServiceError::invalid_parameter(
                "FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action",
            ));
        }
        Ok(Permission {
            id,
            action,
            principal,
            source_arn: self.source_arn,
            source_account: self.source_account,
            url_auth,
            via_url: self.invoked_via_function_url,
            organisation: self.principal_org_id,
            event_source_token: self.event_source_token,
        })
    }
}

/// Whether a statement may have this name.
pub(super) fn check_statement_id(id: &str) -> Result<(), ServiceError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let constraint = if id.len() > STATEMENT_ID_MAX {
        Constraint::LengthMax(STATEMENT_ID_MAX)
    } else if id.is_empty() || !id.bytes().all(plain) {
        Constraint::Pattern("([a-zA-Z0-9-_]+)")
    } else {
        return Ok(());
    };
    Err(ServiceError::constraint("statementId", id, constraint))
}

/// A kind of URLs by its name.
pub(super) fn url_auth(member: &str, text: &str) -> Result<UrlAuth, ServiceError> {
    match text {
        "NONE" => Ok(UrlAuth::None),
        "AWS_IAM" => Ok(UrlAuth::AwsIam),
        other => {
            let all = Constraint::Enum(&["NONE", "AWS_IAM"]);
            Err(ServiceError::constraint(member, other, all))
        }
    }
}

pub(super) async fn add(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let mut request: Add = read(call)?;
    let target = api.target(call)?;
    target.version(api)?;
    if target.qualifier == Some(Qualifier::Latest) {
        return Err(ServiceError::invalid_parameter(
            "We currently do not support adding policies for $LATEST.",
        ));
    }
    let arn = target.arn(api);
    let (key, own) = (or_latest(target.label()), arn.clone());
    let revision = request.revision_id.take();
    let permission = request.permission()?;
    let statement = permission.document(&arn).to_string();
    let made = api
        .control
        .attach(target.name().clone(), move |_, attachments| {
            let policy = &mut attachments.qualified.entry(key).or_default().policy;
            check_revision(revision.as_deref(), &revision_id(policy, &own))?;
            if policy.statements.iter().any(|one| one.id == permission.id) {
                return Err(ServiceError::conflict(format!(
                    "The statement id ({}) provided already exists. Please provide a new statement \
                 id, or remove the existing statement.",
                    permission.id
                )));
            }
            policy.statements.push(permission);
            if policy.document(&own).to_string().len() > POLICY_MAX {
                return Err(ServiceError::policy_length(
                    "The final policy size is bigger than the limit (20480).",
                ));
            }
            Ok(())
        });
    made.await.map_err(|error| attach_error(error, &arn))?;
    told(call, &json!({"Statement": statement}))
}

pub(super) fn get(api: &Api, call: &Call<'_>) -> Answer {
    let target = api.target(call)?;
    let arn = target.arn(api);
    let key = or_latest(target.label());
    let qualified = target.entry.attachments.qualified.get(&key);
    let policy = qualified.map(|qualified| &qualified.policy);
    let policy = policy
        .filter(|policy| !policy.is_empty())
        .ok_or_else(missing)?;
    let document = json!({
        "Policy": policy.document(&arn).to_string(),
        "RevisionId": revision_id(policy, &arn),
    });
    told(call, &document)
}

pub(super) async fn remove(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let target = api.target(call)?;
    let arn = target.arn(api);
    let id = call.route.parameter("StatementId").to_owned();
    let (key, own) = (or_latest(target.label()), arn.clone());
    let revision = call.query.get("RevisionId").cloned();
    let removed = api
        .control
        .attach(target.name().clone(), move |_, attachments| {
            let qualified = attachments.qualified.get_mut(&key).ok_or_else(missing)?;
            let policy = &mut qualified.policy;
            check_revision(revision.as_deref(), &revision_id(policy, &own))?;
            let before = policy.statements.len();
            policy.statements.retain(|one| one.id != id);
            if policy.statements.len() == before {
                let message = format!("Statement {id} is not found in resource policy.");
                return Err(ServiceError::not_found(message));
            }
            Ok(())
        });
    removed.await.map_err(|error| attach_error(error, &arn))?;
    done(call)
}
