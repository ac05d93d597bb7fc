"""A two-layer network for the MNIST digits, as pure functions with checked shapes.

The network: ``init_params``, ``forward``, ``loss``, ``backward``, ``update``, ``predict``,
``accuracy``, with ``relu``, ``tanh`` or ``sigmoid``. Training: ``sgd`` and ``momentum`` with
``constant`` or ``cosine`` schedules, ``init_state``, ``make_step``, ``train``,
``train_epochs``, or a whole recipe from ``recipes`` with ``prepare``. Data: ``load_mnist``,
``load_digits``, ``load_idx_dataset``, ``scale``, ``epoch_batches``, ``ordered_batches``,
``hold_out``, ``live_pixels``. Results: ``evaluate``, ``class_scores``, ``save_params``,
``load_params``. Random numbers: ``key``, ``split``, ``fold_in``, ``generator``. Your own
functions: ``checked``.
"""

from . import idx as idx
from . import recipes as recipes
from .activation_functions import ActivationFunction as ActivationFunction
from .activation_functions import relu as relu
from .activation_functions import sigmoid as sigmoid
from .activation_functions import tanh as tanh
from .arrays import GreyImages as GreyImages
from .arrays import Images as Images
from .arrays import Labels as Labels
from .arrays import Pixels as Pixels
from .batches import Batch as Batch
from .batches import Dataset as Dataset
from .batches import epoch_batches as epoch_batches
from .batches import hold_out as hold_out
from .batches import live_pixels as live_pixels
from .batches import ordered_batches as ordered_batches
from .batches import scale as scale
from .contracts import checked as checked
from .effects.checkpoints import Model as Model
from .effects.checkpoints import ModelError as ModelError
from .effects.checkpoints import load_model as load_model
from .effects.checkpoints import load_params as load_params
from .effects.checkpoints import save_params as save_params
from .effects.datasets import DatasetError as DatasetError
from .effects.datasets import load_digits as load_digits
from .effects.datasets import load_idx_dataset as load_idx_dataset
from .effects.datasets import load_mnist as load_mnist
from .evaluation import ClassScores as ClassScores
from .evaluation import Evaluation as Evaluation
from .evaluation import class_scores as class_scores
from .evaluation import evaluate as evaluate
from .hints import SameFloat as SameFloat
from .idx import IdxError as IdxError
from .keys import Key as Key
from .keys import fold_in as fold_in
from .keys import generator as generator
from .keys import key as key
from .keys import split as split
from .network import Activations as Activations
from .network import Gradients as Gradients
from .network import Params as Params
from .network import accuracy as accuracy
from .network import backward as backward
from .network import forward as forward
from .network import init_params as init_params
from .network import loss as loss
from .network import predict as predict
from .network import update as update
from .optimizers import MomentumState as MomentumState
from .optimizers import Optimizer as Optimizer
from .optimizers import Schedule as Schedule
from .optimizers import SgdState as SgdState
from .optimizers import constant as constant
from .optimizers import cosine as cosine
from .optimizers import momentum as momentum
from .optimizers import sgd as sgd
from .recipes import Recipe as Recipe
from .recipes import Run as Run
from .recipes import prepare as prepare
from .training import Step as Step
from .training import TrainState as TrainState
from .training import init_state as init_state
from .training import make_step as make_step
from .training import train as train
from .training import train_epochs as train_epochs
