import { join } from 'node:path';
import type { RunId, SessionId, TerminalId, UploadId } from '../model/ids.ts';

/**
 * The runner's part of the data folder. Its folders may be entered but not listed by others, because
 * bubblewrap binds a session's folders as the session's own uid; the names in them are unguessable ids.
 */
export type Folders = ReturnType<typeof runnerFolders>;

/** What is in a session's folder from the beginning. */
export const sessionParts = ['workspace', 'home', 'base', 'scratch'] as const;

export function runnerFolders(root: string) {
  const run = (id: RunId) => join(root, 'runs', id);
  const session = (id: SessionId) => join(root, 'sessions', id);
  return {
    root,
    sandbox: join(root, 'sandbox'),
    sessions: join(root, 'sessions'),
    runs: join(root, 'runs'),
    uploads: join(root, 'uploads'),
    upload: (id: UploadId) => join(root, 'uploads', id),
    identities: join(root, 'identities'),
    identity: (id: RunId) => join(root, 'identities', id),
    run,
    log: (id: RunId) => join(run(id), 'log'),
    /** A finished run's result, until control has it; then it is called `acknowledged`. */
    result: (id: RunId) => join(run(id), 'result.json'),
    acknowledged: (id: RunId) => join(run(id), 'acknowledged.json'),
    /** Recordings of its terminals. */
    terminals: (id: RunId) => join(run(id), 'terminals'),
    terminal: (id: RunId, terminal: TerminalId) => join(run(id), 'terminals', terminal),
    artifact: (id: RunId, name: string) => join(run(id), `artifact-${name}`),
    session,
    workspace: (id: SessionId) => join(session(id), 'workspace'),
    home: (id: SessionId) => join(session(id), 'home'),
    /** The repository as it was uploaded or cloned; sandboxes of runs see it read-only. */
    base: (id: SessionId) => join(session(id), 'base'),
    scratch: (id: SessionId) => join(session(id), 'scratch'),
    /** Exists once the workspace was made from the repository. */
    imported: (id: SessionId) => join(session(id), 'imported'),
  };
}
