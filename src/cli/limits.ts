/** What the command line takes at most. */
export const cliLimits = {
  /** A patch is held in memory while it is checked. */
  patchBytesMax: 512 * 1024 * 1024,
  patchFilesMax: 200_000,
  /** Patches up to this size are shown whole before they are applied. */
  patchShownBytesMax: 1024 * 1024,
  /** Pages of 200 searched for an id prefix. */
  lookupPagesMax: 25,
  gitErrorBytesMax: 16 * 1024,
  gitOutputBytesMax: 256 * 1024 * 1024,
  knownHostsBytesMax: 16 * 1024 * 1024,
  profileBytesMax: 64 * 1024,
  /** A file of keys, or of checkpoints that were kept. */
  auditFileBytesMax: 16 * 1024 * 1024,
  /** Events that a report shows; the bundle holds the rest. */
  reportEventsMax: 20_000,
  policyBytesMax: 1024 * 1024,
  policyAliasesMax: 1_000,
  /** Flows that one suggestion is made from. */
  suggestFlowsMax: 200_000,
  /** Pages of 200 denials, and hosts, that the line after a run is made from. */
  denialPagesMax: 5,
  denialHostsShown: 8,
  progressEveryMs: 200,
  credentialsBytesMax: 1024 * 1024,
  tokenCharactersMax: 8_192,
  /** An access token that ends sooner than this is refreshed before it is used. */
  refreshBeforeMs: 30_000,
  /** How long a program waits for another that refreshes; no refresh takes as long as `lockStaleMs`. */
  lockWaitMs: 90_000,
  lockStaleMs: 120_000,
  lockPollMs: 20,
  loginWaitMs: 10 * 60_000,
  /** How long ago the browser's own sign-in may be: younger than what the server asks for dangerous acts. */
  loginMaxAgeSeconds: 300,
  deviceSlowDownMs: 5_000,
  /** How long a terminal may take to answer what a program asked it. */
  lateAnswersMs: 50,
  /** How long the picture of a terminal may take to be drawn, before something is written over it. */
  snapshotDrawnMs: 300,
  /** Of a recording; a recorder writes 64 KiB at most, six times as long in JSON. */
  castLineCharactersMax: 1024 * 1024,
  /** Of what a replay prints in one line where it prints text alone. */
  plainLineCharactersMax: 64 * 1024,
  /** The server lets one caller have 64 at once, its terminals among them. */
  forwardedConnectionsMax: 48,
  /** How long a connection may wait for its turn. */
  forwardWaitMs: 20_000,
  forwardRetryMs: 250,
  forwardNotesMax: 100,
  /** Of what a sandbox hands over. */
  copyEntriesMax: 2_000_000,
  copyNameBytesMax: 4_096,
  copyDepthMax: 128,
  /** Between two looks at whether a run has started. */
  startPollMs: 100,
} as const;
