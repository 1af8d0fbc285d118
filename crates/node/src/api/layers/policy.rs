//! Who else may use a version of a layer. Nobody else is here: it is kept, and told.

use std::sync::Arc;

use fractus_lambda::control::{Constraint, ServiceError};
use fractus_lambda::limits::POLICY_MAX;
use fractus_lambda::model::Permission;
use serde::Deserialize;
use serde_json::json;

use super::super::answer::{check_revision, done, internal, read, told};
use super::super::policy::{check_statement_id, revision_id};
use super::super::{Answer, Api, Call};
use super::{Layer, find, reference, version_key};
use crate::registry::DocumentKind;

/// The one thing that may be allowed.
const ACTION: &str = "lambda:GetLayerVersion";

/// The body of `AddLayerVersionPermission`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Add {
    statement_id: Option<String>,
    action: Option<String>,
    principal: Option<String>,
    organization_id: Option<String>,
}

impl Add {
    fn permission(self) -> Result<Permission, ServiceError> {
        let null = |member| ServiceError::constraint(member, "", Constraint::NotNull);
        let id = self.statement_id.ok_or_else(|| null("statementId"))?;
        check_statement_id(&id)?;
        let action = self.action.ok_or_else(|| null("action"))?;
        if action != ACTION {
            let pattern = Constraint::Pattern(ACTION);
            return Err(ServiceError::constraint("action", &action, pattern));
        }
        let principal = self.principal.ok_or_else(|| null("principal"))?;
        let is_account = principal.len() == 12 && principal.bytes().all(|b| b.is_ascii_digit());
        if principal != "*" && !is_account && !principal.starts_with("arn:") {
            let pattern = Constraint::Pattern("\\d{12}|\\*|arn:(aws[a-zA-Z-]*):iam::\\d{12}:root");
            return Err(ServiceError::constraint("principal", &principal, pattern));
        }
        Ok(Permission {
            id,
            action,
            principal,
            organisation: self.organization_id,
            ..Permission::default()
        })
    }
}

fn missing() -> ServiceError {
    ServiceError::not_found("No policy is associated with the given resource.")
}

async fn store(api: &Api, layer: &Layer) -> Result<(), ServiceError> {
    let text = serde_json::to_string(layer).expect("texts and numbers are JSON");
    let key = version_key(&layer.name, layer.version);
    let artifact = layer.code.digest.parse().ok();
    let registry = api.control.registry();
    let written = registry
        .run(move |registry| registry.put_document(DocumentKind::Layer, &key, artifact, &text));
    written.await.map_err(|error| internal(&error))
}

pub(in crate::api) async fn add(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let request: Add = read(call)?;
    let mut layer = find(api, &reference(call)?).await?;
    let permission = request.permission()?;
    let arn = layer.arn(api);
    let revision = call.query.get("RevisionId").map(String::as_str);
    check_revision(revision, &revision_id(&layer.policy, &arn))?;
    if layer
        .policy
        .statements
        .iter()
        .any(|one| one.id == permission.id)
    {
        return Err(ServiceError::conflict(format!(
            "The statement id ({}) provided already exists. Please provide a new statement id, or \
             remove the existing statement.",
            permission.id
        )));
    }
    let statement = permission.document(&arn).to_string();
    layer.policy.statements.push(permission);
    if layer.policy.document(&arn).to_string().len() > POLICY_MAX {
        return Err(ServiceError::policy_length(
            "The final policy size is bigger than the limit (20480).",
        ));
    }
    store(api, &layer).await?;
    let document = json!({
        "Statement": statement,
        "RevisionId": revision_id(&layer.policy, &arn),
    });
    told(call, &document)
}

pub(in crate::api) async fn get(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let layer = find(api, &reference(call)?).await?;
    if layer.policy.is_empty() {
        return Err(missing());
    }
    let arn = layer.arn(api);
    let document = json!({
        "Policy": layer.policy.document(&arn).to_string(),
        "RevisionId": revision_id(&layer.policy, &arn),
    });
    told(call, &document)
}

pub(in crate::api) async fn remove(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let mut layer = find(api, &reference(call)?).await?;
    let id = call.route.parameter("StatementId");
    let statements = &layer.policy.statements;
    let at = statements
        .iter()
        .position(|one| one.id == id)
        .ok_or_else(|| {
            ServiceError::not_found(format!("Statement {id} is not found in resource policy."))
        })?;
    let revision = call.query.get("RevisionId").map(String::as_str);
    check_revision(revision, &revision_id(&layer.policy, &layer.arn(api)))?;
    layer.policy.statements.remove(at);
    store(api, &layer).await?;
    done(call)
}
