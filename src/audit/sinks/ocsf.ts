import type { JsonObject } from '../../base/canonical-json.ts';
import type { AuditEvent } from '../event.ts';
import { type OcsfClassName, ocsfClasses, ocsfKindOf, ocsfVersion } from './ocsf-classes.ts';
import { severityOf } from './severity.ts';

const severities = {
  informational: { severity: 'Informational', severity_id: 1 },
  medium: { severity: 'Medium', severity_id: 3 },
  high: { severity: 'High', severity_id: 4 },
} as const;

/**
 * An event as an OCSF 1.3 object, with every attribute that its class requires and the whole event in `unmapped`.
 * `version` is the product's. What the event does not say is not made up: an absent address leaves an endpoint with the
 * name of this product.
 */
export function ocsfOf(event: AuditEvent, version: string): JsonObject {
  const { class: name, activity } = ocsfKindOf(event.action);
  const refused = name === 'network' && event.outcome === 'denied';
  const activityId = refused ? 5 : activity;
  const { uid, name: className, category, activities } = ocsfClasses[name];
  const named = (activities as Readonly<Record<number, string>>)[activityId];
  return {
    activity_id: activityId,
    // Of an activity that the schema has no word for, our own word is the name.
    activity_name: activityId === 99 || named === undefined ? event.action : named,
    category_name: category.name,
    category_uid: category.uid,
    class_name: className,
    class_uid: uid,
    message: `${event.action} ${event.outcome}`,
    metadata: metadataOf(event, version),
    ...severities[severityOf(event)],
    ...statusOf(event),
    time: Date.parse(event.at),
    timezone_offset: 0,
    type_name: `${className}: ${named ?? 'Other'}`,
    type_uid: uid * 100 + activityId,
    ...partsOf[name](event, version),
    unmapped: { event: event as unknown as JsonObject },
  };
}

function metadataOf({ id, of, stream, seq, at }: AuditEvent, version: string): JsonObject {
  return {
    ...(of === undefined ? {} : { correlation_uid: of }),
    log_name: stream,
    logged_time: Date.parse(at),
    product: productOf(version),
    sequence: seq,
    uid: id,
    version: ocsfVersion,
  };
}

function productOf(version: string): JsonObject {
  return { name: 'Sealwright', vendor_name: 'Sealwright', version };
}

/** An attempt that was allowed has not succeeded yet: its outcome is another event. */
function statusOf({ phase, outcome, decision }: AuditEvent): JsonObject {
  const pending = phase === 'attempt' && outcome === 'allowed';
  const [status, status_id] = pending
    ? ['Unknown', 0]
    : outcome === 'allowed' || outcome === 'succeeded'
      ? ['Success', 1]
      : ['Failure', 2];
  return { status, status_detail: decision.rule, status_id } as JsonObject;
}

/** Of the parts that a class asks for besides what all have. */
const partsOf: Readonly<Record<OcsfClassName, (event: AuditEvent, version: string) => JsonObject>> = {
  account: (event) => ({ ...doneBy(event), user: targetUser(event) }),
  authentication: (event) => ({
    ...doneBy(event),
    service: { name: 'sealwright' },
    user: subjectOf(event),
  }),
  session: (event) => ({ ...doneBy(event), privileges: [event.action], user: subjectOf(event) }),
  entity: (event) => ({ ...doneBy(event), entity: resourceOf(event) }),
  access: (event) => ({ ...doneBy(event), privileges: privilegesOf(event), user: targetUser(event) }),
  network: flowParts,
  dns: (event) => ({ ...flowParts(event), query: { hostname: textOf(event, 'host') ?? 'unknown' } }),
  lifecycle: (event, version) => ({ actor: actorOf(event), app: appOf(event, version) }),
  api: (event) => ({
    ...doneBy(event),
    api: {
      operation: event.action,
      service: { name: 'sealwright' },
      ...(event.request === undefined ? {} : { request: { uid: event.request.id } }),
    },
    resources: [resourceOf(event)],
  }),
};

function doneBy(event: AuditEvent): JsonObject {
  const agent = event.request?.userAgent ?? null;
  return {
    actor: actorOf(event),
    ...(agent === null ? {} : { http_request: { user_agent: agent } }),
    src_endpoint: sourceOf(event),
  };
}

function actorOf({ actor }: AuditEvent): JsonObject {
  const { id, onBehalfOf, token } = actor;
  return {
    ...(onBehalfOf === undefined ? {} : { invoked_by: onBehalfOf }),
    ...(token === undefined ? {} : { session: { uid: token } }),
    user: userOf(id),
  };
}

/** User types of OCSF: a person, what the system does by itself, and agents and services. */
function userOf(id: string): JsonObject {
  const kind = id.slice(0, Math.max(0, id.indexOf(':')));
  const [type, type_id] = kind === 'user' ? ['User', 1] : kind === 'system' ? ['System', 3] : ['Other', 99];
  return { name: id.slice(kind.length === 0 ? 0 : kind.length + 1), type, type_id, uid: id } as JsonObject;
}

function sourceOf({ request }: AuditEvent): JsonObject {
  const address = request?.address ?? null;
  return address === null ? { name: 'sealwright' } : { ip: address };
}

/** Whose account it is about; the actor's own where the event names none. */
function targetUser(event: AuditEvent): JsonObject {
  const { kind, id } = event.resource;
  const isPerson = kind === 'user' || kind === 'agent';
  if (!isPerson || id === undefined) return subjectOf(event);
  return userOf(id.includes(':') ? id : `${kind}:${id}`);
}

/** Who signs in, as far as it is known. */
function subjectOf({ actor, data }: AuditEvent): JsonObject {
  const named = data?.user;
  return userOf(typeof named === 'string' && actor.id.startsWith('system:') ? `user:${named}` : actor.id);
}

function privilegesOf({ data, action }: AuditEvent): string[] {
  const role = data?.role;
  return [typeof role === 'string' ? role : action];
}

function resourceOf({ resource }: AuditEvent): JsonObject {
  const { id, kind, session } = resource;
  return {
    name: id ?? kind,
    type: kind,
    ...(id === undefined ? {} : { uid: id }),
    ...(session === undefined ? {} : { data: { session } }),
  };
}

/** What a run reached for: the source is the run, which has no address outside its sandbox. */
function flowParts(event: AuditEvent): JsonObject {
  const host = textOf(event, 'host');
  const address = textOf(event, 'address');
  const port = event.data?.port;
  return {
    actor: actorOf(event),
    connection_info: {
      direction: 'Outbound',
      direction_id: 2,
      protocol_name: textOf(event, 'protocol') ?? 'unknown',
    },
    dst_endpoint: {
      ...(host === null ? {} : { hostname: host }),
      ...(address === null ? {} : { ip: address }),
      ...(typeof port === 'number' ? { port } : {}),
      ...(host === null && address === null ? { name: 'unknown' } : {}),
    },
    src_endpoint: { name: event.resource.id ?? 'run', type: 'Other', type_id: 99 },
  };
}

function textOf({ data }: AuditEvent, name: string): string | null {
  const value = data?.[name];
  return typeof value === 'string' && value !== '' ? value : null;
}

function appOf({ action, resource }: AuditEvent, version: string): JsonObject {
  if (action === 'run.end') return { name: 'run', uid: resource.id ?? 'run', vendor_name: 'Sealwright' };
  return productOf(version);
}
