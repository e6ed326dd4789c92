import { openSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { namespaceFlags, unshare } from '../../base/libc.ts';
import { makeEveryAddressLocal } from './any-ip.ts';

/**
 * A thread of the runner that makes network namespaces: for each message it moves itself into a new one,
 * makes every address local there and answers with a file descriptor of it. File descriptors belong to the
 * process, so the main thread uses and closes them. Started with `trackUnmanagedFds: false`, or Node would
 * close them with the thread.
 */
parentPort?.on('message', (id: number) => {
  try {
    unshare(namespaceFlags.net);
    makeEveryAddressLocal();
    parentPort?.postMessage({ id, fd: openSync('/proc/thread-self/ns/net', 'r') });
  } catch (error) {
    parentPort?.postMessage({ id, problem: error instanceof Error ? error.message : String(error) });
  }
});
