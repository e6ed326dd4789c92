import type { JsonObject } from '../base/canonical-json.ts';
import type { Clock } from '../base/clock.ts';
import { absent, Fault } from '../contract/faults.ts';
import { canonicalRepositoryUrl } from '../contract/repository.ts';
import type { RepoSource, RepoUpload } from '../contract/runner.ts';
import type { CreateSession, SessionView } from '../contract/schemas.ts';
import type { Resource } from '../model/decide.ts';
import { newId, type SessionId } from '../model/ids.ts';
import type { SessionRecord, Store } from '../store/store.ts';
import { attachData, attachSettingsOf, requireAttachControl } from './attach/settings.ts';
import type { Caller, Control, Versioned } from './control.ts';
import { claimOf, replayed } from './creation.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { EgressPolicies } from './egress-policies.ts';
import { askedEgress, egressData, requireEgress } from './egress-requests.ts';
import type { Gate } from './gate.ts';
import { shownOf, storePage, viewPage } from './paging.ts';
import type { SessionCloser } from './session-closer.ts';
import { noTeam, requireMember, withinOf } from './team-access.ts';
import { sessionView } from './views.ts';

export type SessionParts = {
  readonly store: Store;
  readonly egressPolicies: EgressPolicies;
  readonly gate: Gate;
  readonly clock: Clock;
  readonly dispatcher: Dispatcher;
  readonly closer: SessionCloser;
  readonly attach: { sessionClosed(session: SessionId): void };
  readonly sessionsPerOwnerMax: number;
};

export function sessionUseCases(parts: SessionParts): Control['sessions'] {
  return {
    create: (caller, creation) => create(parts, caller, creation),
    list: (caller, query) => list(parts, caller, query),
    get: async (caller, id) => {
      const record = await find(parts, id);
      await parts.gate.read(caller, {
        action: 'session.read',
        resource: asResource(record),
      });
      return sessionView(record);
    },
    rename: (caller, id, name, ifMatch) => rename(parts, caller, id, name, ifMatch),
    close: (caller, id) => close(parts, caller, id),
  };
}

function asResource({ id, owner, team }: SessionRecord): Resource {
  return { kind: 'session', id, session: id, owner, team };
}

async function find({ store }: SessionParts, id: SessionId): Promise<SessionRecord> {
  const record = await store.sessions.get(id);
  if (record === null) throw absent('session');
  return record;
}

async function create(
  parts: SessionParts,
  ...[caller, creation]: Parameters<Control['sessions']['create']>
): Promise<Versioned<SessionView>> {
  const { store, gate, clock } = parts;
  const now = clock.now();
  const id = newId('session', now);
  const { name = null, team = null } = creation.request;
  const source = sourceOf(creation.request.repo);
  const egress = askedEgress(creation.request) ?? { names: [], reason: null };
  const attach = attachSettingsOf(creation.request.attach);
  const act = {
    action: 'session.create',
    resource: { kind: 'session', id, session: id, owner: caller.actor.id, team },
    data: {
      name,
      ...(team === null ? {} : { team }),
      ...repoData(source),
      ...egressData(egress),
      ...attachData(attach),
    },
  } as const;
  await gate.read(caller, act);
  await requireEgress(gate, caller, act, egress);
  await requireAttachControl(gate, caller, act, attach);
  requireMember(caller, team);
  const claim = claimOf(caller, act.action, creation);
  const before = claim === null ? null : replayed(await store.idempotency.find(claim));
  if (before !== null) return sessionView(await find(parts, before as SessionId));
  if (source !== null && 'upload' in source) await requireUpload(parts, caller, source.upload);
  if (egress.names.length > 0) await parts.egressPolicies.require(gate, caller, egress.names);
  const owner = caller.actor.id;
  const session = {
    id,
    name,
    phase: 'pending',
    owner,
    team,
    repo: source,
    egress,
    attach,
    createdAt: now,
    closedAt: null,
  } as const;
  return await gate.act(caller, act, async () => {
    const made = await store.sessions.create(session, { claim, openPerOwnerMax: parts.sessionsPerOwnerMax });
    if (made.outcome === 'created') return sessionView(made.record);
    if (made.outcome === 'upload') throw uploadUsed();
    if (made.outcome === 'team') throw noTeam(team);
    if (made.outcome === 'quota') throw quota(parts.sessionsPerOwnerMax);
    return sessionView(await find(parts, replayed(made) as SessionId));
  });
}

function sourceOf(repo: CreateSession['repo']): RepoSource | null {
  if (repo === undefined) return null;
  if ('upload' in repo) return { upload: repo.upload, shallow: repo.shallow ?? [] };
  return { url: canonicalRepositoryUrl(repo.url), ref: repo.ref ?? null, hostKeys: repo.hostKeys ?? [] };
}

function repoData(source: RepoSource | null): JsonObject {
  if (source === null || 'upload' in source) return { upload: source?.upload ?? null };
  return { upload: null, url: source.url, ref: source.ref };
}

/** Only the uploader may use an upload, whatever the reach: its bytes were given for this caller's session. */
async function requireUpload(
  { store }: SessionParts,
  caller: Caller,
  id: RepoUpload['upload'],
): Promise<void> {
  const upload = await store.uploads.get(id);
  if (upload === null || upload.owner !== caller.actor.id || upload.stored === null) throw absent('upload');
  if (upload.session !== null) throw uploadUsed();
}

function uploadUsed(): Fault {
  return new Fault('state.conflict', {
    detail: 'The upload was used by another session. Upload the repository again.',
  });
}

function quota(limit: number): Fault {
  return new Fault('quota.exceeded', {
    detail: `You have ${limit} open sessions, which is the most. Close one first.`,
    extra: { limit },
  });
}

async function list(
  { store, gate }: SessionParts,
  ...[caller, query]: Parameters<Control['sessions']['list']>
): ReturnType<Control['sessions']['list']> {
  await gate.read(caller, { action: 'session.list', resource: { kind: 'session' } });
  const { phase, name } = query;
  const within = withinOf(caller.actor);
  const listed = await store.sessions.list({ within, phase, name }, storePage(query));
  const shown = await shownOf(listed.records, (record) =>
    gate.may(caller, { action: 'session.read', resource: asResource(record) }),
  );
  return viewPage(
    listed,
    (record) => sessionView(record).view,
    (record) => record,
    shown,
  );
}

async function rename(
  parts: SessionParts,
  ...[caller, id, name, ifMatch]: Parameters<Control['sessions']['rename']>
): Promise<Versioned<SessionView>> {
  const record = await find(parts, id);
  const act = {
    action: 'session.rename',
    resource: asResource(record),
    data: { name },
  } as const;
  return await parts.gate.act(caller, act, async () => {
    const swapped = await parts.store.sessions.rename(id, name, ifMatch);
    if (swapped.outcome === 'written') return sessionView(swapped.record);
    if (swapped.outcome === 'absent') throw absent('session');
    throw new Fault('precondition.failed', {
      detail: 'The session changed since it was read. Read it again.',
    });
  });
}

/** A session that is closing or closed already stays so; asking again changes nothing. */
async function close(parts: SessionParts, caller: Caller, id: SessionId): Promise<void> {
  const { store, gate, clock, dispatcher, closer } = parts;
  const record = await find(parts, id);
  const act = { action: 'session.close', resource: asResource(record) } as const;
  await gate.contain(caller, act, async () => {
    parts.attach.sessionClosed(id);
    const cancelled = await store.sessions.terminate(id, clock.now(), 'Its session was closed.');
    if (cancelled !== null) dispatcher.cancelled(cancelled);
    await closer.closeSoon(id);
  });
}
