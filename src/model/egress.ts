import type { RunId } from './ids.ts';

/**
 * What a rule lets through: TLS after a check of its SNI (and with every request checked where it names methods or
 * paths), HTTP with every request checked, SSH, or bytes as they are.
 */
export const egressProtocols = ['https', 'http', 'ssh', 'tcp'] as const;
export type EgressProtocol = (typeof egressProtocols)[number];

/** `restricted`: the rules alone. `full`: every public address too, and the rules for the others. */
export const egressModes = ['restricted', 'full'] as const;
export type EgressMode = (typeof egressModes)[number];

/**
 * One rule, compiled: valid, canonical and with every default filled in. `host` is a canonical DNS name, or
 * `*.name` for the strict subdomains of a name; `cidr` is a canonical network such as `10.0.0.0/8` or `fd00::/8`.
 */
export type EgressRule = {
  /** What verdicts call it, such as `npm#1` or `web#3`: the policy or preset and the rule's place in it, from 1. */
  readonly name: string;
  readonly target: { readonly host: string } | { readonly cidr: string };
  readonly ports: readonly number[];
  readonly protocol: EgressProtocol;
  /** Only with `http` and `https`: the methods and path globs that are let through; absent for all. */
  readonly methods?: readonly string[];
  readonly paths?: readonly string[];
};

/** Bounds of all flows of a run together; null for none. */
export type EgressLimits = {
  /** Bytes that may leave, over the whole run. Past it every connection is cut and no other is let through. */
  readonly bytesOut: number | null;
  /** Connections open at a time; the next one is refused. */
  readonly connections: number | null;
  /** Requests on checked connections, and connections that are not looked into, in any 60 seconds. */
  readonly requestsPerMinute: number | null;
};

/** What a run may reach, as the gateway is told. No rules and `restricted` is no network, which is the default. */
export type EgressPolicy = {
  readonly mode: EgressMode;
  /** Grows with every change that reaches the run, from 1. */
  readonly generation: number;
  readonly rules: readonly EgressRule[];
  readonly limits: EgressLimits;
};

export const unlimitedEgress: EgressLimits = { bytesOut: null, connections: null, requestsPerMinute: null };

/** Why a flow was not let through. */
export const egressDenials = [
  'no-rule', // no rule names this host or address at this port
  'address-class', // the address is loopback, link-local, private, reserved, multicast or the control plane's own
  'protocol', // the bytes are not the protocol that the rule names
  'name-mismatch', // SNI, Host or request target is not the name that was looked up
  'request', // no rule allows this method and path
  'malformed', // TLS, HTTP or SOCKS that is ambiguous or broken
  'unresolved', // the name has no address
  'certificate', // the upstream's certificate is not that of the name, or nobody known vouches for it
  'limit', // the policy's bytes, connections or requests are used up
  'no-record', // the record could not be made durable
] as const;
export type EgressDenial = (typeof egressDenials)[number];

/**
 * The verdict on one flow: a connection, a request on a checked HTTP connection, or a name that was asked for and
 * denied. Everything but the times and the verdict comes from the sandbox and is untrusted text, bounded: host 253
 * characters, method 32, path 1,024.
 */
export type EgressFlow = {
  /** Unique within the run, in the order of the verdicts. */
  readonly id: number;
  readonly run: RunId;
  /** Milliseconds of the epoch. */
  readonly at: number;
  readonly host: string | null;
  /** The upstream address that is dialled; where nothing is, the address that the program asked for, or null. */
  readonly address: string | null;
  readonly port: number;
  readonly protocol: EgressProtocol | 'dns' | null;
  readonly method: string | null;
  readonly path: string | null;
  readonly verdict: 'allowed' | 'denied';
  /** The rule that let it through. */
  readonly rule: string | null;
  readonly denial: EgressDenial | null;
  readonly generation: number;
  /** How many like it this stands for: 1, or more where denials were counted instead of told one by one. */
  readonly count: number;
};

/** Of the flow of a connection whose TLS ends in the gateway, beside those of its requests. */
export const tunnelMethod = 'CONNECT';

/** How an allowed flow ended. Bytes are those of the connection's payload, as the upstream saw them. */
export type EgressFlowEnd = {
  readonly id: number;
  readonly run: RunId;
  readonly at: number;
  readonly bytesOut: number;
  readonly bytesIn: number;
  readonly outcome: 'closed' | 'reset' | 'cut' | 'timed-out' | 'unreachable';
};
