"""A scheduler on pymesos: runs ten tasks and prints every state and message it hears of."""
import getpass
import os
import sys
import uuid
from threading import Thread

from addict import Dict
from pymesos import MesosSchedulerDriver, Scheduler, decode_data, encode_data

TASKS = 10


class Squares(Scheduler):
    def __init__(self, executor):
        self.executor = executor
        self.launched = 0
        self.finished = 0
        self.messages = 0
        self.problem = None

    def registered(self, driver, framework_id, master_info):
        print("registered", framework_id["value"], flush=True)

    def resourceOffers(self, driver, offers):
        for offer in offers:
            left = {one.name: one.scalar.value for one in offer.resources if one.type == "SCALAR"}
            tasks = []
            if self.launched == 0:
                left["cpus"] -= self.executor.resources[0]["scalar"]["value"]
                left["mem"] -= self.executor.resources[1]["scalar"]["value"]
            while self.launched < TASKS and left.get("cpus", 0) >= 0.1 and left.get("mem", 0) >= 16:
                task = Dict()
                task.task_id.value = "square-%d" % self.launched
                task.agent_id.value = offer.agent_id.value
                task.name = "square"
                task.executor = self.executor
                task.data = encode_data(b"%d" % self.launched)
                task.resources = [
                    dict(name="cpus", type="SCALAR", scalar={"value": 0.1}),
                    dict(name="mem", type="SCALAR", scalar={"value": 16}),
                ]
                left["cpus"] -= 0.1
                left["mem"] -= 16
                self.launched += 1
                tasks.append(task)
            driver.launchTasks(offer.id, tasks)

    def statusUpdate(self, driver, update):
        data = decode_data(update.data).decode() if update.data else ""
        print("update", update.task_id.value, update.state, data, flush=True)
        if update.state not in ("TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"):
            self.problem = update.state
            Thread(target=driver.stop).start()
        if update.state == "TASK_FINISHED":
            self.finished += 1
            self.stop_when_done(driver)

    def frameworkMessage(self, driver, executor_id, agent_id, message):
        print("message", decode_data(message).decode(), flush=True)
        self.messages += 1
        self.stop_when_done(driver)

    def stop_when_done(self, driver):
        if self.finished == TASKS and self.messages == TASKS:
            Thread(target=driver.stop).start()

    def error(self, driver, message):
        print("error", message, flush=True)
        self.problem = message
        Thread(target=driver.stop).start()


def main(master):
    executor = Dict()
    executor.executor_id.value = "counting-%s" % uuid.uuid4()
    executor.name = "counting"
    here = os.path.dirname(os.path.abspath(__file__))
    executor.command.value = "%s %s" % (sys.executable, os.path.join(here, "mesos_executor.py"))
    executor.resources = [
        dict(name="cpus", type="SCALAR", scalar={"value": 0.1}),
        dict(name="mem", type="SCALAR", scalar={"value": 64}),
    ]
    framework = Dict(user=getpass.getuser(), name="squares", hostname="localhost", checkpoint=True)
    scheduler = Squares(executor)
    driver = MesosSchedulerDriver(scheduler, framework, master, use_addict=True)
    driver.start()
    driver.join()
    return 1 if scheduler.problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
