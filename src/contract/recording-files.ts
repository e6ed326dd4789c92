/** How the files of a recording are called, for whoever writes them and whoever verifies them. */

/** A segment by the place of its first byte in the recording; places of dropped segments stay empty. */
export function recordingSegmentName(start: number): string {
  return `${String(start).padStart(16, '0')}.cast`;
}

/** The place that a segment's name tells; null for other files. */
export function recordingSegmentStart(name: string): number | null {
  return /^\d{16}\.cast$/.test(name) ? Number.parseInt(name, 10) : null;
}
