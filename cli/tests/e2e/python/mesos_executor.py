"""An executor on pymesos: runs each task as a thread that says what it did."""
import sys
import time
from threading import Thread

from addict import Dict
from pymesos import Executor, MesosExecutorDriver, decode_data, encode_data


class Counting(Executor):
    def launchTask(self, driver, task):
        def report(state, **more):
            update = Dict()
            update.task_id.value = task.task_id.value
            update.state = state
            update.timestamp = time.time()
            update.update(more)
            driver.sendStatusUpdate(update)

        def run():
            report("TASK_RUNNING")
            number = int(decode_data(task.data))
            driver.sendFrameworkMessage(encode_data(b"did %d" % number))
            report("TASK_FINISHED", data=encode_data(b"%d" % (number * number)))

        Thread(target=run, daemon=True).start()


if __name__ == "__main__":
    MesosExecutorDriver(Counting(), use_addict=True).run()
    sys.exit(0)
