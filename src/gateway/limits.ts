import assert from 'node:assert/strict';

export const gatewayLimits = {
  /** Names that one sandbox may look up; more are refused. */
  namesMax: 10_000,
  dnsTtlSeconds: 60,
  /** A stub's socket takes no larger UDP answer. */
  dnsUdpBytesMax: 1_232,
  dnsConnectionMs: 10_000,
  /** Until a connection has said what it is: its ClientHello, its request head, its banner. */
  firstBytesMs: 15_000,
  resolveTimeoutMs: 2_000,
  resolveTries: 2,
  /** How long an upstream's addresses are used again, whatever their TTL says. */
  resolvedMostMs: 30_000,
  /** How long a name that had no address, for whatever reason, is not asked for again. */
  resolvedNoneMs: 1_000,
  resolvedNamesMax: 10_000,
  connectMs: 10_000,
  /** Names of a sandbox whose certificates and sessions are kept; for the others they are made again. */
  tlsNamesKeptMax: 200,
  /** HTTP/2 streams of a connection at a time, and what an upstream may send ahead on one and on all of them. */
  streamsMax: 100,
  streamWindowBytes: 512 * 1024,
  connectionWindowBytes: 1024 * 1024,
  /** Of those before the answer, which no window bounds, those that are passed on. */
  interimAnswersMax: 16,
  /** How much later the next of several addresses is tried beside the first (RFC 8305). */
  nextAddressMs: 250,
  /** Silence in both directions; an agent may think for an hour. */
  idleMs: 2 * 3600_000,
  /** How long a refused program may take to read why. */
  lingerMs: 500,
  /** How long what was cut may take to end. */
  cutMs: 500,
  connectionsPerSandboxMax: 2_000,
  /** Of all sandboxes together, where the process may have that many descriptors. */
  connectionsMax: 16_000,
  /** The part of the descriptors that is for connections, two for each; the rest is for listeners and lookups. */
  descriptorsForConnections: 3 / 4,
  flowsPerBatchMax: 256,
  /** How long the end of a flow waits for verdicts to go with. */
  endsHeldMs: 20,
  /** Batches on their way to the record at a time. */
  batchesMax: 8,
  /** Verdicts that wait for their turn, of all sandboxes and of one; more are refused. */
  flowsWaitingMax: 20_000,
  verdictsWaitingPerSandboxMax: 2_000,
  recordTimeoutMs: 10_000,
  /** Repeated denials are told one by one up to here and then counted, and the counts told this often. */
  denialsToldMs: 10_000,
  denialKindsMax: 1_000,
  /** A kind of denial that was not seen for so long is told at once again. */
  denialForgottenMs: 10 * 60_000,
  /** Addresses of the host itself are looked up again after this. */
  ownAddressesMs: 5_000,
} as const;

assert(gatewayLimits.nextAddressMs < gatewayLimits.connectMs);
assert(gatewayLimits.denialForgottenMs % gatewayLimits.denialsToldMs === 0);
