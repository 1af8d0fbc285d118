//! Resource policies: who may call a function.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::attachments::UrlAuth;

/// Who may call one qualifier of a function.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Policy {
    /// The statements, oldest first.
    pub statements: Vec<Permission>,
}

/// One statement of a policy; all of them allow.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Permission {
    /// Names the statement.
    pub id: String,
    /// What is allowed, such as `lambda:InvokeFunctionUrl`; `lambda:*` and `*` are all.
    pub action: String,
    /// To whom: `*`, an account, an ARN, or a service such as `s3.amazonaws.com`.
    pub principal: String,
    /// Only on behalf of this resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_arn: Option<String>,
    /// Only on behalf of this account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_account: Option<String>,
    /// Only through URLs of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_auth: Option<UrlAuth>,
    /// Only through URLs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via_url: Option<bool>,
    /// Only for members of this organisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// Only with this token (Alexa).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_source_token: Option<String>,
}

impl Policy {
    /// Whether there is no statement.
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// Whether anyone may call through a URL of this kind.
    pub fn allows_url(&self, auth: UrlAuth) -> bool {
        self.statements.iter().any(|permission| {
            permission.allows("lambda:InvokeFunctionUrl")
                && permission.principal == "*"
                && permission.url_auth.is_none_or(|only| only == auth)
                && permission.source_arn.is_none()
                && permission.source_account.is_none()
                && permission.organisation.is_none()
        })
    }

    /// As the JSON document that clients are told. `arn` is the function's with the qualifier.
    pub fn document(&self, arn: &str) -> Value {
        let statements = self.statements.iter().map(|one| one.document(arn));
        json!({
            "Version": "2012-10-17",
            "Id": "default",
            "Statement": statements.collect::<Vec<_>>(),
        })
    }
}

impl Permission {
    /// Whether it is about this action.
    fn allows(&self, action: &str) -> bool {
        self.action == action || self.action == "lambda:*" || self.action == "*"
    }

    /// As one statement of the document.
    pub fn document(&self, arn: &str) -> Value {
        let principal = match self.principal.as_str() {
            "*" => json!("*"),
            service if service.ends_with(".amazonaws.com") => json!({"Service": service}),
            account if account.bytes().all(|b| b.is_ascii_digit()) => {
                json!({"AWS": format!("arn:aws:iam::{account}:root")})
            }
            other => json!({"AWS": other}),
        };
        let mut statement = json!({
            "Sid": self.id,
            "Effect": "Allow",
            "Principal": principal,
            "Action": self.action,
            "Resource": arn,
        });
        let condition = self.condition();
        if !condition.is_empty() {
            statement["Condition"] = condition.into();
        }
        statement
    }

    fn condition(&self) -> Map<String, Value> {
        let mut conditions = Map::new();
        let mut add = |operator: &str, key: &str, value: Option<Value>| {
            if let Some(value) = value {
                let entry = conditions.entry(operator).or_insert_with(|| json!({}));
                entry[key] = value;
            }
        };
        let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
        add("StringEquals", "lambda:FunctionUrlAuthType", {
            self.url_auth.map(|auth| json!(auth))
        });
        add(
            "StringEquals",
            "AWS:SourceAccount",
            text(&self.source_account),
        );
        add(
            "StringEquals",
            "aws:PrincipalOrgID",
            text(&self.organisation),
        );
        add("StringEquals", "lambda:EventSourceToken", {
            text(&self.event_source_token)
        });
        add("ArnLike", "AWS:SourceArn", text(&self.source_arn));
        add("Bool", "lambda:InvokedViaFunctionUrl", {
            self.via_url.map(|via| json!(via.to_string()))
        });
        conditions
    }
}
