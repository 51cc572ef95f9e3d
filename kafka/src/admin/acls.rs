//! Access control lists: read, created and deleted.

use std::ffi::c_char;
use std::sync::Arc;

use rdkafka_sys as sys;
use sys::rd_kafka_AclOperation_t as Operation;
use sys::rd_kafka_AclPermissionType_t as Permission;
use sys::rd_kafka_ResourcePatternType_t as Pattern;
use sys::rd_kafka_ResourceType_t as Resource;
use sys::rd_kafka_admin_op_t as AdminOperation;
use wire::acl::{Acl, AclOperation, AclPattern, AclPermission, AclResource};

use super::call::{Call, Owned, lent};
use crate::catalog::Answers;
use crate::client::{Client, coded};
use crate::error::KafkaError;
use crate::text::{c_string, lossy, text};

/// Bindings of each operation to its number in Kafka.
const OPERATIONS: [(AclOperation, Operation); 9] = [
    (AclOperation::All, Operation::RD_KAFKA_ACL_OPERATION_ALL),
    (AclOperation::Read, Operation::RD_KAFKA_ACL_OPERATION_READ),
    (AclOperation::Write, Operation::RD_KAFKA_ACL_OPERATION_WRITE),
    (AclOperation::Create, Operation::RD_KAFKA_ACL_OPERATION_CREATE),
    (AclOperation::Delete, Operation::RD_KAFKA_ACL_OPERATION_DELETE),
    (AclOperation::Alter, Operation::RD_KAFKA_ACL_OPERATION_ALTER),
    (AclOperation::Describe, Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE),
    (AclOperation::DescribeConfigs, Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS),
    (AclOperation::AlterConfigs, Operation::RD_KAFKA_ACL_OPERATION_ALTER_CONFIGS),
];

/// Reads the rules about topics and groups. `None`: the cluster states no rule about anything.
///
/// librdkafka 2.12.1 drops the error in the answer, so that a refused request looks like a cluster without rules.
/// All kinds of resources are in one request: then a cluster that has some answered.
pub(super) fn read(client: &Arc<Client>) -> Result<Option<Vec<Acl>>, KafkaError> {
    let doing = "access control lists";
    let mut filter = Owned::new(sys::rd_kafka_AclBinding_destroy);
    let mut reason = [0 as c_char; 512];
    // SAFETY: `reason` is as long as stated; null matches every name, principal and host.
    let made = unsafe {
        let any = std::ptr::null();
        sys::rd_kafka_AclBindingFilter_new(
            Resource::RD_KAFKA_RESOURCE_ANY,
            any,
            Pattern::RD_KAFKA_RESOURCE_PATTERN_ANY,
            any,
            any,
            Operation::RD_KAFKA_ACL_OPERATION_ANY,
            Permission::RD_KAFKA_ACL_PERMISSION_TYPE_ANY,
            reason.as_mut_ptr(),
            reason.len(),
        )
    };
    if made.is_null() {
        return Err(KafkaError::misused(doing, text(&reason)));
    }
    filter.raw.push(made);
    let call = Call::new(client, AdminOperation::RD_KAFKA_ADMIN_OP_DESCRIBEACLS, doing.to_owned())?;
    let event = call.answer(|rk, options, queue| {
        // SAFETY: all are live; librdkafka copies the filter.
        unsafe { sys::rd_kafka_DescribeAcls(rk, made, options, queue) }
    })?;
    // SAFETY: the event holds a DescribeAcls answer and outlives this block, which copies what it reads.
    unsafe {
        let result = sys::rd_kafka_event_DescribeAcls_result(event.raw());
        let mut count = 0;
        let stated = lent(sys::rd_kafka_DescribeAcls_result_acls(result, &raw mut count), count);
        let acls = stated.iter().filter_map(|&one| copied(one)).collect();
        Ok((!stated.is_empty()).then_some(acls))
    }
}

/// Creates rules. Those that exist are left as they are.
pub(super) fn create(client: &Arc<Client>, acls: &[Acl]) -> Answers<()> {
    let asked = bindings(acls)?;
    let doing = format!("creation of {} access control lists", acls.len());
    let call = Call::new(client, AdminOperation::RD_KAFKA_ADMIN_OP_CREATEACLS, doing)?;
    let event = call.answer(|rk, options, queue| {
        // SAFETY: all are live; librdkafka copies the rules.
        unsafe { sys::rd_kafka_CreateAcls(rk, asked.raw.as_ptr().cast_mut(), asked.raw.len(), options, queue) }
    })?;
    // SAFETY: the event holds a CreateAcls answer and outlives this block; each result lives as long.
    let answers = unsafe {
        let result = sys::rd_kafka_event_CreateAcls_result(event.raw());
        let mut count = 0;
        let results = lent(sys::rd_kafka_CreateAcls_result_acls(result, &raw mut count), count);
        let judge = |(acl, &result): (&Acl, &*const sys::rd_kafka_acl_result_t)| {
            outcome("creation of", acl, sys::rd_kafka_acl_result_error(result))
        };
        acls.iter().zip(results).map(judge).collect()
    };
    Ok(complete(acls, answers))
}

/// Deletes exactly these rules. One that does not exist is no error.
pub(super) fn delete(client: &Arc<Client>, acls: &[Acl]) -> Answers<()> {
    let asked = bindings(acls)?;
    let doing = format!("deletion of {} access control lists", acls.len());
    let call = Call::new(client, AdminOperation::RD_KAFKA_ADMIN_OP_DELETEACLS, doing)?;
    let event = call.answer(|rk, options, queue| {
        // SAFETY: all are live; a rule without open fields is a filter that matches itself, and is copied.
        unsafe { sys::rd_kafka_DeleteAcls(rk, asked.raw.as_ptr().cast_mut(), asked.raw.len(), options, queue) }
    })?;
    // SAFETY: the event holds a DeleteAcls answer and outlives this block; all in it lives as long.
    let answers = unsafe {
        let result = sys::rd_kafka_event_DeleteAcls_result(event.raw());
        let mut count = 0;
        let responses = lent(sys::rd_kafka_DeleteAcls_result_responses(result, &raw mut count), count);
        let judge = |(acl, &response): (&Acl, &*const sys::rd_kafka_DeleteAcls_result_response_t)| {
            let mut matched = 0;
            let matching = sys::rd_kafka_DeleteAcls_result_response_matching_acls(response, &raw mut matched);
            let errors = lent(matching, matched).iter().map(|&one| sys::rd_kafka_AclBinding_error(one));
            let whole = sys::rd_kafka_DeleteAcls_result_response_error(response);
            let mut errors = std::iter::once(whole).chain(errors);
            errors.try_for_each(|error| outcome("deletion of", acl, error))
        };
        acls.iter().zip(responses).map(judge).collect()
    };
    Ok(complete(acls, answers))
}

/// Adds an answer for each rule that has none.
fn complete(acls: &[Acl], mut answers: Vec<Result<(), KafkaError>>) -> Vec<Result<(), KafkaError>> {
    let missing = acls.iter().skip(answers.len());
    let missing: Vec<_> = missing.map(|acl| Err(KafkaError::unavailable(acl.to_string(), "no answer"))).collect();
    answers.extend(missing);
    answers
}

/// Returns what an error of librdkafka says about a rule; null is success.
///
/// # Safety
/// The error must be null or live.
unsafe fn outcome(doing: &str, acl: &Acl, error: *const sys::rd_kafka_error_t) -> Result<(), KafkaError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: as the caller promises; the text is copied.
    unsafe {
        let code = coded::rd_kafka_error_code(error);
        match code {
            0 => Ok(()),
            code => Err(KafkaError::coded(format!("{doing} `{acl}`"), code, lossy(sys::rd_kafka_error_string(error)))),
        }
    }
}

/// Makes the rules as librdkafka has them.
fn bindings(acls: &[Acl]) -> Result<Owned<sys::rd_kafka_AclBinding_t>, KafkaError> {
    let mut made = Owned::new(sys::rd_kafka_AclBinding_destroy);
    for acl in acls {
        let name = c_string(&acl.name)?;
        let principal = c_string(&acl.principal)?;
        let host = c_string(&acl.host)?;
        let operation = OPERATIONS.iter().find(|(operation, _)| *operation == acl.operation);
        let operation = operation.map_or(Operation::RD_KAFKA_ACL_OPERATION_UNKNOWN, |(_, number)| *number);
        let mut reason = [0 as c_char; 512];
        // SAFETY: the texts and `reason` are live; the texts are copied.
        let binding = unsafe {
            sys::rd_kafka_AclBinding_new(
                match acl.resource {
                    AclResource::Topic => Resource::RD_KAFKA_RESOURCE_TOPIC,
                    AclResource::Group => Resource::RD_KAFKA_RESOURCE_GROUP,
                },
                name.as_ptr(),
                match acl.pattern {
                    AclPattern::Literal => Pattern::RD_KAFKA_RESOURCE_PATTERN_LITERAL,
                    AclPattern::Prefixed => Pattern::RD_KAFKA_RESOURCE_PATTERN_PREFIXED,
                },
                principal.as_ptr(),
                host.as_ptr(),
                operation,
                match acl.permission {
                    AclPermission::Deny => Permission::RD_KAFKA_ACL_PERMISSION_TYPE_DENY,
                    AclPermission::Allow => Permission::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW,
                },
                reason.as_mut_ptr(),
                reason.len(),
            )
        };
        if binding.is_null() {
            return Err(KafkaError::misused(acl.to_string(), text(&reason)));
        }
        made.raw.push(binding);
    }
    Ok(made)
}

/// Copies a rule; `None` if it is about something else, or of a kind that this version does not know.
///
/// # Safety
/// `stated` must be live. librdkafka itself has replaced numbers that its enums do not have.
unsafe fn copied(stated: *const sys::rd_kafka_AclBinding_t) -> Option<Acl> {
    // SAFETY: as the caller promises; texts are copied.
    unsafe {
        let resource = match sys::rd_kafka_AclBinding_restype(stated) {
            Resource::RD_KAFKA_RESOURCE_TOPIC => AclResource::Topic,
            Resource::RD_KAFKA_RESOURCE_GROUP => AclResource::Group,
            _ => return None,
        };
        let pattern = match sys::rd_kafka_AclBinding_resource_pattern_type(stated) {
            Pattern::RD_KAFKA_RESOURCE_PATTERN_LITERAL => AclPattern::Literal,
            Pattern::RD_KAFKA_RESOURCE_PATTERN_PREFIXED => AclPattern::Prefixed,
            _ => return None,
        };
        let permission = match sys::rd_kafka_AclBinding_permission_type(stated) {
            Permission::RD_KAFKA_ACL_PERMISSION_TYPE_DENY => AclPermission::Deny,
            Permission::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW => AclPermission::Allow,
            _ => return None,
        };
        let number = sys::rd_kafka_AclBinding_operation(stated);
        let (operation, _) = *OPERATIONS.iter().find(|(_, known)| *known == number)?;
        let copy = |text: *const c_char| lossy(text).into_owned();
        Some(Acl {
            resource,
            pattern,
            name: copy(sys::rd_kafka_AclBinding_name(stated)),
            principal: copy(sys::rd_kafka_AclBinding_principal(stated)),
            host: copy(sys::rd_kafka_AclBinding_host(stated)),
            operation,
            permission,
        })
    }
}
