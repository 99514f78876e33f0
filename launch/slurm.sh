#!/usr/bin/env bash
# One run on several machines of a SLURM cluster, a process a GPU, which is what jax expects there:
#   sbatch --nodes=2 --gpus-per-node=8 --ntasks-per-node=8 launch/slurm.sh \
#     --config=configs/imagenet_lt.py:fass --workdir=DIR
# DIR, the data and the cache have to be on a disk that all machines share. Five minutes before the
# time is up SLURM sends SIGTERM: all processes save the same step, and the job is put back into the
# queue, where it goes on, with more machines or fewer.
#SBATCH --job-name=fass_jax
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -u
# jax finds the others by SLURM's own variables
srun --kill-on-bad-exit=1 python -m fass_jax.main "$@"
code=$?
if [ "$code" -eq 143 ]; then # 128 + SIGTERM: saved, and not done
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
