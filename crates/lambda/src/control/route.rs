//! Which operation a request asks for.

use std::borrow::Cow;

use http::Method;
use thiserror::Error;

use crate::sigv4::decoded;

#[cfg(test)]
mod tests;

/// Parameters in a path, at most.
const PARAMETERS_MAX: usize = 3;
/// Parameters whose values have slashes in them, which come encoded.
const WITH_SLASHES: [&str; 3] = ["CallbackId", "DurableExecutionArn", "ResourceArn"];

/// A request, understood as far as its path goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route<'a> {
    /// What is asked for.
    pub operation: Operation,
    parameters: [(&'static str, Cow<'a, str>); PARAMETERS_MAX],
}

/// Why a request asks for nothing.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum RouteError {
    /// No operation has this path.
    #[error("no operation has this path")]
    NoSuchPath,
    /// Some operation has this path, with another method.
    #[error("no operation has this path and method")]
    WrongMethod,
}

/// An operation as the model has it.
struct Entry {
    operation: Operation,
    method: &'static str,
    /// Segments in braces are parameters.
    path: &'static str,
    /// A query parameter that must be there, where path and method do not tell.
    query: Option<&'static str>,
}

/// The operations: name, status of success, method, path and query parameter.
macro_rules! operations {
    ($($name:ident $status:literal $method:literal $path:literal $($query:literal)?;)*) => {
        /// An operation of the AWS Lambda API (version 2015-03-31).
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum Operation {
            $(
                #[doc = concat!("`", $method, " ", $path, $("?", $query,)? "`")]
                $name,
            )*
        }

        impl Operation {
            /// Its name in the model, such as `CreateFunction`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// HTTP status of an answer that is no error. That of `Invoke` depends on the call.
            pub fn success_status(self) -> u16 {
                match self {
                    $(Self::$name => $status,)*
                }
            }
        }

        static TABLE: &[Entry] = &[$(
            Entry {
                operation: Operation::$name,
                method: $method,
                path: $path,
                query: [$($query,)?].first().copied(),
            },
        )*];
    };
}

// One that asks for a query parameter comes before the one that does not.
operations! {
    InvokeAsync 202 "POST" "/2014-11-13/functions/{FunctionName}/invoke-async";
    ListEventSourceMappings 200 "GET" "/2015-03-31/event-source-mappings";
    CreateEventSourceMapping 202 "POST" "/2015-03-31/event-source-mappings";
    DeleteEventSourceMapping 202 "DELETE" "/2015-03-31/event-source-mappings/{UUID}";
    GetEventSourceMapping 200 "GET" "/2015-03-31/event-source-mappings/{UUID}";
    UpdateEventSourceMapping 202 "PUT" "/2015-03-31/event-source-mappings/{UUID}";
    ListFunctions 200 "GET" "/2015-03-31/functions";
    CreateFunction 201 "POST" "/2015-03-31/functions";
    DeleteFunction 200 "DELETE" "/2015-03-31/functions/{FunctionName}";
    GetFunction 200 "GET" "/2015-03-31/functions/{FunctionName}";
    ListAliases 200 "GET" "/2015-03-31/functions/{FunctionName}/aliases";
    CreateAlias 201 "POST" "/2015-03-31/functions/{FunctionName}/aliases";
    DeleteAlias 204 "DELETE" "/2015-03-31/functions/{FunctionName}/aliases/{Name}";
    GetAlias 200 "GET" "/2015-03-31/functions/{FunctionName}/aliases/{Name}";
    UpdateAlias 200 "PUT" "/2015-03-31/functions/{FunctionName}/aliases/{Name}";
    UpdateFunctionCode 200 "PUT" "/2015-03-31/functions/{FunctionName}/code";
    GetFunctionConfiguration 200 "GET" "/2015-03-31/functions/{FunctionName}/configuration";
    UpdateFunctionConfiguration 200 "PUT" "/2015-03-31/functions/{FunctionName}/configuration";
    Invoke 200 "POST" "/2015-03-31/functions/{FunctionName}/invocations";
    GetPolicy 200 "GET" "/2015-03-31/functions/{FunctionName}/policy";
    AddPermission 201 "POST" "/2015-03-31/functions/{FunctionName}/policy";
    RemovePermission 204 "DELETE" "/2015-03-31/functions/{FunctionName}/policy/{StatementId}";
    ListVersionsByFunction 200 "GET" "/2015-03-31/functions/{FunctionName}/versions";
    PublishVersion 201 "POST" "/2015-03-31/functions/{FunctionName}/versions";
    GetAccountSettings 200 "GET" "/2016-08-19/account-settings";
    UntagResource 204 "DELETE" "/2017-03-31/tags/{Resource}";
    ListTags 200 "GET" "/2017-03-31/tags/{Resource}";
    TagResource 204 "POST" "/2017-03-31/tags/{Resource}";
    DeleteFunctionConcurrency 204 "DELETE" "/2017-10-31/functions/{FunctionName}/concurrency";
    PutFunctionConcurrency 200 "PUT" "/2017-10-31/functions/{FunctionName}/concurrency";
    GetLayerVersionByArn 200 "GET" "/2018-10-31/layers" "find=LayerVersion";
    ListLayers 200 "GET" "/2018-10-31/layers";
    ListLayerVersions 200 "GET" "/2018-10-31/layers/{LayerName}/versions";
    PublishLayerVersion 201 "POST" "/2018-10-31/layers/{LayerName}/versions";
    DeleteLayerVersion 204 "DELETE" "/2018-10-31/layers/{LayerName}/versions/{VersionNumber}";
    GetLayerVersion 200 "GET" "/2018-10-31/layers/{LayerName}/versions/{VersionNumber}";
    GetLayerVersionPolicy 200 "GET"
        "/2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy";
    AddLayerVersionPermission 201 "POST"
        "/2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy";
    RemoveLayerVersionPermission 204 "DELETE"
        "/2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy/{StatementId}";
    DeleteFunctionEventInvokeConfig 204 "DELETE"
        "/2019-09-25/functions/{FunctionName}/event-invoke-config";
    GetFunctionEventInvokeConfig 200 "GET"
        "/2019-09-25/functions/{FunctionName}/event-invoke-config";
    UpdateFunctionEventInvokeConfig 200 "POST"
        "/2019-09-25/functions/{FunctionName}/event-invoke-config";
    PutFunctionEventInvokeConfig 200 "PUT"
        "/2019-09-25/functions/{FunctionName}/event-invoke-config";
    ListFunctionEventInvokeConfigs 200 "GET"
        "/2019-09-25/functions/{FunctionName}/event-invoke-config/list";
    GetFunctionConcurrency 200 "GET" "/2019-09-30/functions/{FunctionName}/concurrency";
    ListProvisionedConcurrencyConfigs 200 "GET"
        "/2019-09-30/functions/{FunctionName}/provisioned-concurrency" "List=ALL";
    DeleteProvisionedConcurrencyConfig 204 "DELETE"
        "/2019-09-30/functions/{FunctionName}/provisioned-concurrency";
    GetProvisionedConcurrencyConfig 200 "GET"
        "/2019-09-30/functions/{FunctionName}/provisioned-concurrency";
    PutProvisionedConcurrencyConfig 202 "PUT"
        "/2019-09-30/functions/{FunctionName}/provisioned-concurrency";
    ListCodeSigningConfigs 200 "GET" "/2020-04-22/code-signing-configs";
    CreateCodeSigningConfig 201 "POST" "/2020-04-22/code-signing-configs";
    DeleteCodeSigningConfig 204 "DELETE" "/2020-04-22/code-signing-configs/{CodeSigningConfigArn}";
    GetCodeSigningConfig 200 "GET" "/2020-04-22/code-signing-configs/{CodeSigningConfigArn}";
    UpdateCodeSigningConfig 200 "PUT" "/2020-04-22/code-signing-configs/{CodeSigningConfigArn}";
    ListFunctionsByCodeSigningConfig 200 "GET"
        "/2020-04-22/code-signing-configs/{CodeSigningConfigArn}/functions";
    DeleteFunctionCodeSigningConfig 204 "DELETE"
        "/2020-06-30/functions/{FunctionName}/code-signing-config";
    GetFunctionCodeSigningConfig 200 "GET"
        "/2020-06-30/functions/{FunctionName}/code-signing-config";
    PutFunctionCodeSigningConfig 200 "PUT"
        "/2020-06-30/functions/{FunctionName}/code-signing-config";
    GetRuntimeManagementConfig 200 "GET"
        "/2021-07-20/functions/{FunctionName}/runtime-management-config";
    PutRuntimeManagementConfig 200 "PUT"
        "/2021-07-20/functions/{FunctionName}/runtime-management-config";
    DeleteFunctionUrlConfig 204 "DELETE" "/2021-10-31/functions/{FunctionName}/url";
    GetFunctionUrlConfig 200 "GET" "/2021-10-31/functions/{FunctionName}/url";
    CreateFunctionUrlConfig 201 "POST" "/2021-10-31/functions/{FunctionName}/url";
    UpdateFunctionUrlConfig 200 "PUT" "/2021-10-31/functions/{FunctionName}/url";
    ListFunctionUrlConfigs 200 "GET" "/2021-10-31/functions/{FunctionName}/urls";
    InvokeWithResponseStream 200 "POST"
        "/2021-11-15/functions/{FunctionName}/response-streaming-invocations";
    GetFunctionRecursionConfig 200 "GET" "/2024-08-31/functions/{FunctionName}/recursion-config";
    PutFunctionRecursionConfig 200 "PUT" "/2024-08-31/functions/{FunctionName}/recursion-config";
    ListCapacityProviders 200 "GET" "/2025-11-30/capacity-providers";
    CreateCapacityProvider 202 "POST" "/2025-11-30/capacity-providers";
    DeleteCapacityProvider 202 "DELETE" "/2025-11-30/capacity-providers/{CapacityProviderName}";
    GetCapacityProvider 200 "GET" "/2025-11-30/capacity-providers/{CapacityProviderName}";
    UpdateCapacityProvider 202 "PUT" "/2025-11-30/capacity-providers/{CapacityProviderName}";
    ListFunctionVersionsByCapacityProvider 200 "GET"
        "/2025-11-30/capacity-providers/{CapacityProviderName}/function-versions";
    GetFunctionScalingConfig 200 "GET"
        "/2025-11-30/functions/{FunctionName}/function-scaling-config";
    PutFunctionScalingConfig 202 "PUT"
        "/2025-11-30/functions/{FunctionName}/function-scaling-config";
    SendDurableExecutionCallbackFailure 200 "POST"
        "/2025-12-01/durable-execution-callbacks/{CallbackId}/fail";
    SendDurableExecutionCallbackHeartbeat 200 "POST"
        "/2025-12-01/durable-execution-callbacks/{CallbackId}/heartbeat";
    SendDurableExecutionCallbackSuccess 200 "POST"
        "/2025-12-01/durable-execution-callbacks/{CallbackId}/succeed";
    DeleteDurableExecution 202 "DELETE" "/2025-12-01/durable-executions/{DurableExecutionArn}";
    GetDurableExecution 200 "GET" "/2025-12-01/durable-executions/{DurableExecutionArn}";
    CheckpointDurableExecution 200 "POST"
        "/2025-12-01/durable-executions/{DurableExecutionArn}/checkpoint";
    GetDurableExecutionHistory 200 "GET"
        "/2025-12-01/durable-executions/{DurableExecutionArn}/history";
    PauseDurableExecution 202 "POST" "/2025-12-01/durable-executions/{DurableExecutionArn}/pause";
    ResumeDurableExecution 202 "POST" "/2025-12-01/durable-executions/{DurableExecutionArn}/resume";
    GetDurableExecutionState 200 "GET" "/2025-12-01/durable-executions/{DurableExecutionArn}/state";
    StopDurableExecution 200 "POST" "/2025-12-01/durable-executions/{DurableExecutionArn}/stop";
    ListDurableExecutionsByFunction 200 "GET"
        "/2025-12-01/functions/{FunctionName}/durable-executions";
    DeleteResourcePolicy 204 "DELETE" "/2026-07-09/resource-policy/{ResourceArn}";
    GetResourcePolicy 200 "GET" "/2026-07-09/resource-policy/{ResourceArn}";
    PutResourcePolicy 200 "PUT" "/2026-07-09/resource-policy/{ResourceArn}";
}

/// What the request asks for; `query` is what follows the question mark, or nothing. A slash at
/// the end of the path makes no difference. A path that could be read in two ways (with an empty
/// segment, `..`, a control character, or an encoded slash where no value has one) is none.
pub fn route<'a>(method: &Method, path: &'a str, query: &str) -> Result<Route<'a>, RouteError> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut failure = RouteError::NoSuchPath;
    for entry in TABLE {
        let asked = |pair| query.split('&').any(|each| each == pair);
        if !has_shape(entry.path, path) || !entry.query.is_none_or(asked) {
            continue;
        }
        if entry.method == method.as_str() {
            let parameters = parameters(entry.path, path).ok_or(RouteError::NoSuchPath)?;
            let operation = entry.operation;
            return Ok(Route {
                operation,
                parameters,
            });
        }
        failure = RouteError::WrongMethod;
    }
    Err(failure)
}

impl Route<'_> {
    /// A parameter of the path, decoded, by its name in the model such as `FunctionName`. Empty if
    /// this operation has no such parameter; one that it has is never empty.
    pub fn parameter(&self, name: &str) -> &str {
        let mut all = self.parameters.iter();
        all.find(|(each, _)| *each == name)
            .map_or("", |(_, value)| value)
    }
}

/// Whether a path has the pattern's segments, and something for each parameter.
fn has_shape(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.as_bytes(), path.as_bytes());
    let until = |bytes: &[u8], end| bytes.iter().position(|&byte| byte == end);
    while let Some((&first, rest)) = pattern.split_first() {
        if first == b'{' {
            let value = until(path, b'/').unwrap_or(path.len());
            if value == 0 {
                return false;
            }
            path = &path[value..];
            pattern = until(rest, b'}').map_or(&[], |end| &rest[end + 1..]);
        } else if let Some(after) = path.strip_prefix(&[first]) {
            (pattern, path) = (rest, after);
        } else {
            return false;
        }
    }
    path.is_empty()
}

/// The parameters of a path that has the pattern's shape.
fn parameters<'a>(
    pattern: &'static str,
    path: &'a str,
) -> Option<[(&'static str, Cow<'a, str>); PARAMETERS_MAX]> {
    let mut parameters = [const { ("", Cow::Borrowed("")) }; PARAMETERS_MAX];
    let mut free = parameters.iter_mut();
    for (pattern, segment) in pattern.split('/').zip(path.split('/')) {
        let name = pattern
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        if let Some(name) = name {
            *free.next()? = (name, value(name, segment)?);
        }
    }
    Some(parameters)
}

/// The value that a segment gives to the parameter.
fn value<'a>(name: &str, segment: &'a str) -> Option<Cow<'a, str>> {
    let value = decoded(segment)?;
    let is_odd = value.chars().any(char::is_control)
        || value.split('/').any(|part| matches!(part, "." | ".."))
        || (value.contains('/') && !WITH_SLASHES.contains(&name));
    (!is_odd).then_some(value)
}
