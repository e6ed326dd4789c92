import type { SignedCheckpoint } from '../audit/checkpoint.ts';
import type { SignedAuditLog } from '../audit/log.ts';
import type { CheckpointClaim } from '../contract/runner.ts';
import type { RunnerLink } from './runner-link.ts';

/** Tells the runner each checkpoint of control's own stream, which it records in its own. */
export class CheckpointExchange {
  readonly #audit: Pick<SignedAuditLog, 'checkpoint' | 'onCheckpoint'>;
  readonly #stream: string;
  readonly #link: Pick<RunnerLink, 'order' | 'connected'>;
  #forget: () => void = () => undefined;

  constructor(parts: {
    audit: Pick<SignedAuditLog, 'checkpoint' | 'onCheckpoint'>;
    stream: string;
    link: Pick<RunnerLink, 'order' | 'connected'>;
  }) {
    this.#audit = parts.audit;
    this.#stream = parts.stream;
    this.#link = parts.link;
  }

  start(): void {
    this.#forget = this.#audit.onCheckpoint((checkpoint) => this.#tell(checkpoint));
  }

  /** The newest, to a runner that was just connected. */
  tell(): void {
    this.#tell(this.#audit.checkpoint());
  }

  close(): void {
    this.#forget();
  }

  /** One that is lost is followed by another. */
  #tell({ origin, size, root }: SignedCheckpoint): void {
    if (!this.#link.connected) return;
    const claim: CheckpointClaim = { stream: this.#stream, origin, size, root: root.toString('base64') };
    void this.#link.order({ order: 'checkpoint', checkpoint: claim }).catch(() => undefined);
  }
}
