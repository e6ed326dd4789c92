import { parentPort } from 'node:worker_threads';
import { type SegmentJob, verifySegment } from './verify-segment.ts';

/** A thread that verifies one segment after another. */
parentPort?.on('message', (job: SegmentJob) => {
  void verifySegment(job, (bytes) => parentPort?.postMessage({ bytes })).then(
    (report) => parentPort?.postMessage({ report }),
    (error: unknown) => parentPort?.postMessage({ failure: String(error) }),
  );
});
