/** What an event is in the words of the Open Cybersecurity Schema Framework, 1.3.0. */
export const ocsfVersion = '1.3.0';

type OcsfClass = {
  readonly uid: number;
  readonly name: string;
  readonly category: { readonly uid: number; readonly name: string };
  readonly activities: Readonly<Record<number, string>>;
};

const identity = { uid: 3, name: 'Identity & Access Management' } as const;
const network = { uid: 4, name: 'Network Activity' } as const;
const application = { uid: 6, name: 'Application Activity' } as const;
const crud = { 1: 'Create', 2: 'Read', 3: 'Update', 4: 'Delete', 99: 'Other' } as const;

/** The classes that events fall into, with the activities that are used of each. */
export const ocsfClasses = {
  account: {
    uid: 3001,
    name: 'Account Change',
    category: identity,
    activities: {
      1: 'Create',
      3: 'Password Change',
      4: 'Password Reset',
      5: 'Disable',
      6: 'Delete',
      9: 'Lock',
      10: 'MFA Factor Enable',
      11: 'MFA Factor Disable',
      99: 'Other',
    },
  },
  authentication: {
    uid: 3002,
    name: 'Authentication',
    category: identity,
    activities: { 1: 'Logon', 2: 'Logoff', 3: 'Authentication Ticket', 99: 'Other' },
  },
  session: {
    uid: 3003,
    name: 'Authorize Session',
    category: identity,
    activities: { 1: 'Assign Privileges', 99: 'Other' },
  },
  entity: { uid: 3004, name: 'Entity Management', category: identity, activities: crud },
  access: {
    uid: 3005,
    name: 'User Access Management',
    category: identity,
    activities: { 1: 'Assign Privileges', 2: 'Revoke Privileges', 99: 'Other' },
  },
  network: {
    uid: 4001,
    name: 'Network Activity',
    category: network,
    activities: { 1: 'Open', 2: 'Close', 5: 'Refuse' },
  },
  dns: { uid: 4003, name: 'DNS Activity', category: network, activities: { 1: 'Query' } },
  lifecycle: {
    uid: 6002,
    name: 'Application Lifecycle',
    category: application,
    activities: { 3: 'Start', 4: 'Stop' },
  },
  api: { uid: 6003, name: 'API Activity', category: application, activities: crud },
} as const satisfies Record<string, OcsfClass>;
export type OcsfClassName = keyof typeof ocsfClasses;

/** A class and an activity of it. */
export type OcsfKind = { readonly class: OcsfClassName; readonly activity: number };

/** Actions that are about who somebody is or may do, or about the network; of the others the last word decides. */
const kinds: Readonly<Record<string, readonly [OcsfClassName, number]>> = {
  'account.device.approve': ['session', 1],
  'account.elevation.end': ['access', 2],
  'account.elevation.request': ['access', 1],
  'account.mfa.enroll': ['account', 10],
  'account.mfa.remove': ['account', 11],
  'account.password': ['account', 3],
  'account.program.approve': ['session', 1],
  'account.recovery-codes': ['account', 99],
  'account.sign-out': ['authentication', 2],
  'account.step-up': ['authentication', 1],
  'agent.certificate.renew': ['entity', 3],
  'agent.create': ['account', 1],
  'agent.credential.create': ['entity', 1],
  'agent.credential.revoke': ['entity', 4],
  'agent.disable': ['account', 5],
  'agent.remove': ['account', 6],
  'agent.update': ['account', 99],
  'attach.connect': ['session', 99],
  'attach.control': ['access', 1],
  'attach.disconnect': ['session', 99],
  'attach.drive': ['authentication', 3],
  'attach.input': ['session', 99],
  'attach.lease': ['session', 1],
  'attach.refuse': ['authentication', 1],
  'attach.view': ['authentication', 3],
  'audit.closed': ['lifecycle', 4],
  'audit.dropped': ['api', 4],
  'audit.opened': ['lifecycle', 3],
  'client.verify': ['authentication', 1],
  'egress.connect': ['network', 1],
  'egress.ended': ['network', 2],
  'egress.lookup': ['dns', 1],
  'elevation.decide': ['access', 1],
  'elevation.end': ['access', 2],
  'invitation.accept': ['account', 1],
  'exec.end': ['lifecycle', 4],
  'exec.start': ['lifecycle', 3],
  'run.end': ['lifecycle', 4],
  'runner.started': ['lifecycle', 3],
  'sign-in.lockout': ['account', 9],
  'sign-in.open': ['authentication', 1],
  'sign-in.password': ['authentication', 1],
  'sign-in.pending': ['authentication', 1],
  'sign-in.program': ['authentication', 1],
  'sign-in.provider': ['authentication', 1],
  'sign-in.provider-logout': ['authentication', 2],
  'sign-in.reuse': ['authentication', 99],
  'token.create': ['entity', 1],
  'token.exchange': ['authentication', 3],
  'token.issue': ['authentication', 3],
  'token.refresh': ['authentication', 3],
  'token.revoke': ['entity', 4],
  'token.rotate': ['entity', 3],
  'token.verify': ['authentication', 1],
  'user.disable': ['account', 5],
  'user.link': ['account', 99],
  'user.remove': ['account', 6],
  'user.reset-mfa': ['account', 11],
  'user.reset-password': ['account', 4],
  'user.sign-out': ['authentication', 2],
  'user.sign-up': ['account', 1],
  'user.ticket': ['authentication', 3],
  'user.unlink': ['account', 99],
  'user.update': ['account', 99],
};

/** Things that are managed, changes of which are Entity Management and not just a call. */
const entities = /^(access-policy|audit\.key|flag|invitation|key|policy|role|team|account\.token)\./;

/** The last word of an action as an activity of the classes that create, read, update and delete. */
const verbs: Readonly<Record<string, number>> = {
  ...{ create: 1, introduced: 1, resume: 1 },
  ...{
    list: 2,
    read: 2,
    logs: 2,
    artifact: 2,
    egress: 2,
    explain: 2,
    export: 2,
    prove: 2,
    recorded: 1,
    recording: 2,
    simulate: 2,
    sinks: 2,
    terminals: 2,
    witnesses: 2,
  },
  ...{ put: 3, reindex: 3, rename: 3, rotate: 3, rotated: 3, update: 3 },
  ...{ expire: 4, remove: 4, revoke: 4, close: 4, stop: 4 },
};

const creates = 1;
const reads = 2;
const other = 99;

/** What an action is; none is left out: what the table does not name is Entity Management or API Activity by its last word. */
export function ocsfKindOf(action: string): OcsfKind {
  const named = Object.hasOwn(kinds, action) ? kinds[action] : undefined;
  if (named !== undefined) return { class: named[0], activity: named[1] };
  const verb = action.slice(action.lastIndexOf('.') + 1);
  const activity = Object.hasOwn(verbs, verb) ? verbs[verb]! : other;
  if (action.startsWith('sign-in.')) return { class: 'authentication', activity: creates };
  const isManaged = entities.test(action) && activity !== reads;
  return { class: isManaged ? 'entity' : 'api', activity };
}

/** The actions that the table names by themselves, for the tests and the reference. */
export const namedOcsfActions: readonly string[] = Object.keys(kinds);
