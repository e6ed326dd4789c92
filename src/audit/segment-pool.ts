import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { type ReportProgress, type SegmentJob, type SegmentReport, verifySegment } from './verify-segment.ts';

type Message = { readonly bytes: number } | { readonly report: SegmentReport } | { readonly failure: string };

const program = new URL(`./verify-worker${extname(import.meta.filename)}`, import.meta.url);

/** `bytes` more of the segment `index` were read. */
export type PoolProgress = (index: number, bytes: number) => void;

/**
 * Verifies segments, as many at a time as there are `threads`; the reports are in the order of the jobs. One segment alone,
 * or one thread, needs no other thread than this.
 */
export async function verifySegments(
  jobs: readonly SegmentJob[],
  threads: number,
  onProgress: PoolProgress,
): Promise<SegmentReport[]> {
  const reports: SegmentReport[] = [];
  let next = 0;
  const run = async (verify: (job: SegmentJob, progress: ReportProgress) => Promise<SegmentReport>) => {
    for (let index = next++; index < jobs.length; index = next++)
      reports[index] = await verify(jobs[index]!, (bytes) => onProgress(index, bytes));
  };
  const count = Math.min(threads, jobs.length);
  if (count <= 1) {
    await run(verifySegment);
    return reports;
  }
  const workers = Array.from({ length: count }, () => new Worker(program));
  try {
    await Promise.all(workers.map((worker) => run((job, progress) => verifyIn(worker, job, progress))));
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
  return reports;
}

async function verifyIn(worker: Worker, job: SegmentJob, progress: ReportProgress): Promise<SegmentReport> {
  const { promise, resolve, reject } = Promise.withResolvers<SegmentReport>();
  const onMessage = (message: Message) => {
    if ('report' in message) resolve(message.report);
    else if ('failure' in message) reject(new Error(message.failure));
    else progress(message.bytes, 0);
  };
  worker.on('message', onMessage);
  worker.once('error', reject);
  try {
    worker.postMessage(job);
    return await promise;
  } finally {
    worker.off('message', onMessage);
    worker.off('error', reject);
  }
}
